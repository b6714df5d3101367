# SPDX-License-Identifier: Apache-2.0
"""A whole worker, but for the network: clients and engines are in memory, and the event loop runs only as long as there is something to do."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import httptools

from llm_gateway.config.settings import Settings
from llm_gateway.data_path.client_connection import ClientConnection
from llm_gateway.process.worker import Worker, bind

KEY = b"sk-test"
MAX_TURNS = 2000


class Transport:
    """One end of a connection: what the protocol writes is kept in `written`, or given to `on_write`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        self._loop = loop
        self._protocol = protocol
        self._coming: deque[bytes] = deque()
        self._paused = False
        self.on_write: Callable[[bytes], None] | None = None
        self.written = b""
        self.closing = False
        self.lost = False
        self.aborted = False

    # what protocols call

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if self.closing:
            return
        self.written += data
        if self.on_write is not None:
            self.on_write(data)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, **__: int) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        return

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}.get(name, default)

    # what the other end does

    def receive(self, data: bytes) -> None:
        """The other end sent this. What the protocol raises is not caught."""
        self._coming.append(data)
        self._deliver()

    def hang_up(self) -> None:
        """The other end closed."""
        self.closing = True
        self._lose()

    def _deliver(self) -> None:
        while self._coming and not self._paused and not self.closing:
            self._protocol.data_received(self._coming.popleft())

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self._protocol.connection_lost(None)


class Asked:
    """llhttp's callbacks: the requests in a stream of bytes, as far as they are whole."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self._url = b""
        self._body: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self._url, self._body = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.requests.append((self._parser.get_method(), self._url, b"".join(self._body)))

    def feed(self, data: bytes) -> None:
        """More bytes. Raises httptools.HttpParserError."""
        self._parser.feed_data(data)


class Answered:
    """llhttp's callbacks: the final replies in a stream of bytes. Raises AssertionError for what is no reply."""

    def __init__(self, data: bytes) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.complete = 0
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise AssertionError(f"the client gets what is not HTTP ({error}): {data!r}") from error

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.statuses.append(status)
            self.bodies.append(b"")

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.complete = len(self.statuses)


class _Loop(asyncio.SelectorEventLoop):
    """Connections to engines end in memory."""

    engine: Callable[[Transport], None]

    async def create_connection(self, factory: Any, *__: Any, **___: Any) -> Any:  # type: ignore[override]
        protocol = factory()
        transport = Transport(self, protocol)
        self.engine(transport)
        protocol.connection_made(transport)
        return transport, protocol

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done but to wait."""
        return not self._ready  # type: ignore[attr-defined]


class House:
    """The worker. `answer` gets each request to an engine, and the engine's transport to answer on."""

    def __init__(self, answer: Callable[[Transport, bytes, bytes], None], **options: Any) -> None:
        self._answer = answer
        self._problems: list[BaseException] = []
        self.loop = _Loop()
        self.loop.engine = self._connected
        self.loop.set_exception_handler(self._note)
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-house-")
        keys = Path(self._folder.name, "keys")
        keys.write_bytes(KEY + b"\n")
        settings = Settings(
            listen="127.0.0.1:0",
            api_key_file=str(keys),
            access_log="",
            probe_interval=0.0,
            **options,
        )
        listener = bind(settings, shared=False)
        self.worker = Worker(settings, listener)
        self.loop.run_until_complete(self._start(listener.getsockname()[1]))
        self.gateway = self.worker.gateway

    async def _start(self, port: int) -> None:
        await self.worker.start()
        # What Sanic gives to the connections that it accepts, it gives to those in memory as well.
        __, writer = await asyncio.open_connection(sock=await self._plain_socket(port))
        while not self.worker._protocol_arguments:
            await asyncio.sleep(0)
        writer.transport.abort()
        for task in list(self.worker._tasks):
            task.cancel()
        self.worker._tasks.clear()
        await asyncio.sleep(0)

    async def _plain_socket(self, port: int) -> Any:
        import socket

        plain = socket.socket()
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        return plain

    def close(self) -> None:
        """Nothing more is to be done."""
        self.worker.listener.close()
        self.loop.close()
        self._folder.cleanup()

    def _note(self, _loop: Any, context: dict[str, Any]) -> None:
        self._problems.append(context.get("exception") or AssertionError(context["message"]))

    def _connected(self, transport: Transport) -> None:
        asked = Asked()

        def on_write(data: bytes) -> None:
            before = len(asked.requests)
            try:
                asked.feed(data)
            except httptools.HttpParserError as error:
                raise AssertionError(f"the engine gets what is not HTTP ({error}): {data!r}") from error
            assert len(asked.requests) == before + 1, f"the engine gets not one whole request: {data!r}"
            method, path, body = asked.requests[-1]
            if method == b"GET":
                reply = b'{"data":[{"id":"tiny"}]}'
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
                self.loop.call_soon(transport.receive, head + reply)
            else:
                self._answer(transport, path, body)

        transport.on_write = on_write

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the loop. Raises what it raises, or what anything else in the loop has raised meanwhile."""
        found = self.loop.run_until_complete(work)
        problems, self._problems = self._problems, []
        if problems:
            raise problems[0]
        return found

    async def settle(self) -> None:
        """Until nothing is to be done but to wait."""
        for __ in range(MAX_TURNS):
            await asyncio.sleep(0)
            if self.loop.idle:
                return
        raise AssertionError("the worker does not come to rest")

    def connect(self) -> tuple[Transport, ClientConnection]:
        """A client."""
        connection = ClientConnection(**self.worker._protocol_arguments)
        transport = Transport(self.loop, connection)
        connection.connection_made(transport)
        return transport, connection

    async def send(self, pieces: Iterable[bytes], *, turns: int) -> tuple[Transport, ClientConnection]:
        """A client that sends these pieces, and lets the loop turn so many times in between; then everything has come to rest."""
        transport, connection = self.connect()
        for piece in pieces:
            if transport.closing:
                break
            transport.receive(piece)
            for __ in range(turns):
                await asyncio.sleep(0)
        await self.settle()
        return transport, connection

    async def leave(self, transport: Transport, connection: ClientConnection) -> None:
        """The client goes, and nothing of it is left."""
        transport.hang_up()
        await self.settle()
        gateway = self.gateway
        assert connection not in gateway.connections
        assert not gateway.active, "a request is left over"
        for engine in gateway.fleet.registry.engines.values():
            assert engine.mine == 0, "an engine counts a request that is over"
