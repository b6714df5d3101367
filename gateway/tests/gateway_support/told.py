# SPDX-License-Identifier: Apache-2.0
"""An engine that answers as a test tells it, and a gateway before it: for what engines and clients of the world really say."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from gateway_support.house import Front, House

Answer = Callable[["Asked", "Say"], Awaitable[None]]
CARD = {
    "id": "m",
    "object": "model",
    "created": 1,
    "owned_by": "vllm",
    "root": "/m",
    "parent": None,
    "max_model_len": 4096,
}


class Asked:
    """A request as the engine got it."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def said(self) -> str:
        """What the user said first: the tests' way to tell the engine what to do."""
        return next(message["content"] for message in self.json["messages"] if message["role"] == "user")


class Say:
    """Ways to answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def json(self, document: Any, status: int = 200, **headers: str) -> None:
        await self.body(json.dumps(document).encode(), "application/json", status, **headers)

    async def body(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        await self.raw(head.encode() + body)

    async def stream(self) -> None:
        await self.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, document: Any) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        await self.piece(b"data: " + data + b"\n\n")

    async def end(self, *, done: bool = True) -> None:
        if done:
            await self.event(b"[DONE]")
        await self.raw(b"0\r\n\r\n")


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A chunk of a streamed chat completion."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [choice],
    } | fields


def completion(content: str | None = "hello", finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


async def usual(asked: Asked, say: Say) -> None:
    """What every engine can do: `hello`, streamed if that was asked for."""
    if not asked.json.get("stream"):
        await say.json(completion())
        return
    await say.stream()
    for delta in ({"role": "assistant", "content": ""}, {"content": "he"}, {"content": "llo"}):
        await say.event(chunk(delta))
    await say.event(chunk({}, "stop"))
    if (asked.json.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        await say.event(chunk(choices=[], usage=usage))
    await say.end()


class Told:
    """The engine. `asked` are the POSTs that came; `models` may change while it runs, as may `gets`, the JSON at other paths; `got` are the GETs.

    `base` stands before its paths; with `tls` it speaks HTTPS."""

    def __init__(
        self,
        answer: Answer = usual,
        models: list[dict[str, Any]] | None = None,
        *,
        base: str = "/v1",
        gets: dict[str, Any] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.models = [CARD] if models is None else models
        self.base = base
        self.gets = gets or {}
        self.got: list[Asked] = []
        self._tls = tls
        self.asked: list[Asked] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    @property
    def last(self) -> Any:
        """The last request's JSON."""
        return self.asked[-1].json

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}" if self._tls is None else f"https://localhost:{port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, __ = start.split(" ", 2)
        headers = {name.lower(): value.strip() for name, __, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        say = Say(writer)
        if method == "GET":
            self.got.append(Asked(target, headers, body))
            known = {f"{self.base}/models": {"object": "list", "data": self.models}} | self.gets
            await say.json(known.get(target, {"detail": "Not Found"}), 200 if target in known else 404)
        else:
            asked = Asked(target, headers, body)
            self.asked.append(asked)
            await self.answer(asked, say)
        return headers.get("connection") != "close"


class Wild:
    """Builds told engines, and gateways before them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._engines: list[Told] = []

    def engine(self, answer: Answer = usual, models: list[dict[str, Any]] | None = None, **more: Any) -> Told:
        engine = Told(answer, models, **more)
        self.house.run(engine.start())
        self._engines.append(engine)
        return engine

    def gateway(self, *engines: Told, **settings: Any) -> Front:
        settings.setdefault("breaker_failures", 100_000)
        return self.house.front(*engines, **settings)  # type: ignore[arg-type]  # it wants their `url` only

    def both(self, answer: Answer = usual, **settings: Any) -> tuple[Front, Told]:
        """One gateway before one engine."""
        engine = self.engine(answer)
        return self.gateway(engine, **settings), engine

    def close(self) -> None:
        for engine in self._engines:
            self.house.run(engine.stop())


def messages(content: Any = "hi", **fields: Any) -> dict[str, Any]:
    """A request to `/v1/messages`."""
    return {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": content}], **fields}


def responses(given: Any = "hi", **fields: Any) -> dict[str, Any]:
    """A request to `/v1/responses`."""
    return {"model": "m", "input": given, **fields}


def chat(content: Any = "hi", **fields: Any) -> dict[str, Any]:
    """A request to `/v1/chat/completions`."""
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def events(body: bytes) -> list[dict[str, Any]]:
    """The JSON of a stream's events."""
    lines = [line[5:].strip() for line in body.decode().split("\n") if line.startswith("data:")]
    return [json.loads(line) for line in lines if line and line != "[DONE]"]
