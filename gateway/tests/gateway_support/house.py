# SPDX-License-Identifier: Apache-2.0
"""Engines and gateways in one background event loop, so that tests can be plain functions with plain clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from gateway_support.engine import FakeEngine
from llm_gateway.config.settings import Settings
from llm_gateway.process.worker import Worker, bind

KEY = "sk-test"


class Reply:
    """A whole reply."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


class Front:
    """A running gateway, as its clients see it, and its insides for what clients cannot see."""

    def __init__(self, house: House, worker: Worker, port: int) -> None:
        self.house = house
        self.worker = worker
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def gateway(self):
        return self.worker.gateway

    def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = KEY, timeout: float = 20, **headers: str
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if key is not None:
                sent["authorization"] = f"Bearer {key}"
            connection.request(method, path, data, sent)
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Reply:
        return self.request("POST", path, body, **options)

    def chat(self, **fields: Any) -> Reply:
        options = {name: fields.pop(name) for name in ("key", "timeout", "headers") if name in fields}
        options.update(options.pop("headers", {}))
        return self.post(
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields},
            **options,
        )

    def raw(self, data: bytes, timeout: float = 10) -> bytes:
        """Send bytes, read until the gateway closes (or `timeout`)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            received = b""
            while True:
                try:
                    piece = connection.recv(65536)
                except (ConnectionResetError, TimeoutError):
                    return received
                if not piece:
                    return received
                received += piece

    def open_stream(self, path: str = "/v1/chat/completions", key: str = KEY, **fields: Any) -> Stream:
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "prompt": "hi",
            "stream": True,
            **fields,
        }
        return Stream(self.port, path, body, key)

    def metric(self, start: str) -> float:
        """The sum of all samples whose line starts so."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("llm_gateway_" + start))


class Stream:
    """A streamed request on a connection of its own."""

    def __init__(self, port: int, path: str, body: Any, key: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.connection.request("POST", path, json.dumps(body).encode(), headers)
        self.socket = self.connection.sock
        self.reply: http.client.HTTPResponse | None = None

    def head(self) -> http.client.HTTPResponse:
        if self.reply is None:
            self.reply = self.connection.getresponse()
        return self.reply

    def events(self) -> list[str]:
        """All events until the end."""
        return [event for event in self.head().read().decode().split("\n\n") if event]

    def event(self) -> str:
        """The next event (or comment)."""
        lines = []
        while True:
            line = self.head().readline().decode()
            if line in ("\n", "", "\r\n"):
                return "".join(lines)
            lines.append(line.rstrip("\n"))

    def close(self) -> None:
        if self.reply is not None:
            self.reply.close()
        self.socket.close()
        self.connection.close()


class House:
    """The background loop and what lives in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._engines: list[FakeEngine] = []
        self._fronts: list[Front] = []

    def __enter__(self) -> House:
        self._thread.start()
        return self

    def __exit__(self, *__: object) -> None:
        for front in self._fronts:
            if not front.gateway.draining:
                object.__setattr__(front.worker.settings, "drain_timeout", 0.0)
                self.run(front.worker.stop())
        for engine in self._engines:
            self.run(engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 20) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call something in the loop's thread."""

        async def inner() -> Any:
            return function(*arguments)

        return self.run(inner())

    def wait(self, event: asyncio.Event, timeout: float = 10) -> None:
        async def inner() -> None:
            async with asyncio.timeout(timeout):
                await event.wait()

        self.run(inner(), timeout + 5)

    def until(self, condition: Any, timeout: float = 10) -> None:
        """Wait until a condition, looked at in the loop's thread, holds."""

        async def inner() -> None:
            async with asyncio.timeout(timeout):
                while not condition():
                    await asyncio.sleep(0.005)

        self.run(inner(), timeout + 5)

    def engine(self, **options: Any) -> FakeEngine:
        async def start() -> FakeEngine:
            engine = FakeEngine(**options)
            await engine.start()
            return engine

        engine = self.run(start())
        self._engines.append(engine)
        return engine

    def front(self, *engines: FakeEngine, ready: bool = True, **options: Any) -> Front:
        """A gateway in front of these engines."""
        if not any(name in options for name in ("api_key_file", "keys_dir", "anonymous")):
            keys = self.folder / "keys.txt"
            keys.write_text(f"{KEY}\n")
            options["api_key_file"] = str(keys)
        options.setdefault("access_log", "")
        options.setdefault("engine", tuple(engine.url for engine in engines))
        settings = Settings(listen="127.0.0.1:0", **options)
        listener = bind(settings, shared=False)
        worker = Worker(settings, listener)
        self.run(worker.start())
        front = Front(self, worker, listener.getsockname()[1])
        self._fronts.append(front)
        if ready:
            self.wait(worker.gateway.discovered)
        return front
