# SPDX-License-Identifier: Apache-2.0
"""Engines' replies: the short cuts past llhttp never say something else than it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import httptools
from gateway_support.transport import Transport

from fuzz.target import Target, parts, seed
from llm_gateway.engines.connection import EngineConnection, whole_chunks
from llm_gateway.engines.engine import Engine
from llm_gateway.errors import EngineError

OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
# Between two replies of one input.
NEXT = b"\x00\x01"
SEEDS = (
    seed(JSON),
    seed(JSON + NEXT + JSON.replace(b"th: 2", b"th: 4") + b"{}"),
    seed(OK + b"date: now\r\ncontent-length: 2\r\nserver: x\r\ncontent-type: text/plain\r\n\r\n{}" + NEXT + JSON),
    seed(STREAM + b"9\r\ndata: x\n\n\r\n9\r\ndata: y\n\n\r\n0\r\n\r\n"),
    seed(STREAM + b"a;x=y\r\ndata: xy\n\n\r\n0\r\nt: v\r\n\r\n"),
    seed(b"HTTP/1.1 100 Continue\r\n\r\n" + JSON),
    seed(b"HTTP/1.0 200 OK\r\n\r\n{}"),
    seed(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"),
    seed(b"HTTP/1.1 204 No Content\r\n\r\n"),
    seed(OK + b"proxy-connection: close\r\ncontent-length: 2\r\n\r\n{}"),
)
WORDS = (
    b"\r\n",
    b"\r\n\r\n",
    NEXT,
    JSON,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 X\r\n",
    b"content-length: 2\r\n",
    b"Content-Type: a\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\n",
    b"upgrade: x\r\n",
    b"2\r\n{}\r\n",
    b"0\r\n\r\n",
    b"0x2\r\n",
    b"{}",
)


class Heard:
    """A Receiver that notes what it hears. What came before a failure is not told: it is a matter of how the bytes were cut."""

    def __init__(self) -> None:
        self.head: tuple[int, bytes] | None = None
        self.body = b""
        self.end = ""

    def reply_head(self, connection: EngineConnection) -> None:
        self.head = (connection.status, connection.content_type)

    def reply_data(self, data: bytes) -> None:
        assert not self.end
        self.body += data

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        assert dechunked(chunks) == body
        self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        self.reply_head(connection)
        self.reply_data(body)
        self.reply_ended()

    def reply_ended(self) -> None:
        assert not self.end
        self.end = "ended"

    def reply_failed(self, error: EngineError) -> None:
        assert not self.end
        self.end = error.kind

    def outcome(self) -> Any:
        return (self.end, self.head, self.body) if self.end == "ended" else self.end


class _Body:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def dechunked(chunks: bytes) -> bytes:
    """The payload of whole chunks, by llhttp. Raises AssertionError if they are none."""
    seen = _Body()
    parser = httptools.HttpResponseParser(seen)
    try:
        parser.feed_data(OK + b"transfer-encoding: chunked\r\n\r\n" + chunks)
        assert not seen.complete, "the end of the body was taken for a chunk"
        parser.feed_data(b"0\r\n\r\n")
    except httptools.HttpParserError as error:
        raise AssertionError(f"no chunks for llhttp ({error}): {chunks!r}") from error
    assert seen.complete, f"not whole for llhttp: {chunks!r}"
    return seen.body


def reply_on(engine: Engine, pieces: Sequence[bytes]) -> Any:
    """What becomes of a reply in these pieces, after which the engine closes: (what was heard, whether the connection is kept)."""
    connection = EngineConnection(engine)
    connection.connection_made(Transport())  # type: ignore[arg-type]
    receiver = Heard()
    connection.send(receiver, b"x")
    for piece in pieces:
        if connection.receiver is receiver:
            connection.data_received(piece)
    kept = connection in engine.idle_connections() and not connection.closed
    if connection.receiver is receiver:
        connection.connection_lost(None)
    engine.idle = None
    return receiver.outcome(), kept


def make() -> Callable[[bytes], None]:
    """See Target."""

    def check(data: bytes) -> None:
        __, payload, pieces = parts(data)
        engine = Engine("127.0.0.1", 1)
        if NEXT in payload:
            # Some replies of one engine, each in one piece, so that the next one may be known by the last one's head.
            for reply in payload.split(NEXT):
                if reply:
                    assert reply_on(engine, [reply]) == by_parser([reply])
        elif pieces:
            assert reply_on(engine, pieces) == by_parser(pieces)
            assert reply_on(engine, [payload]) == by_parser([payload])
        for piece in pieces:
            body = whole_chunks(piece)
            assert not body or body == dechunked(piece)

    return check


def by_parser(pieces: Sequence[bytes]) -> Any:
    """As `reply_on`, without any short cut: they are for replies that begin with more than a byte."""
    return reply_on(Engine("127.0.0.1", 1), [pieces[0][:1], pieces[0][1:], *pieces[1:]] if pieces else [])


REPLY = Target(make, SEEDS, WORDS)
