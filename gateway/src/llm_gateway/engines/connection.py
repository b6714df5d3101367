# SPDX-License-Identifier: Apache-2.0
"""One keep-alive connection to an engine: sends a framed request, hands the reply's pieces to a receiver as they come."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any, Final, Protocol

import httptools

from llm_gateway.errors import EngineError
from llm_gateway.http.outbox import Outbox
from llm_gateway.http.template import Template

# More than this unsent towards the engine makes no sense to buffer twice: the request's body is in memory anyway.
WRITE_BUFFER_BYTES: Final = 1 << 20


# A whole head of the usual kind: 200, one Content-Length and at most one Content-Type, in either order, every line whole.
_LINES: Final = rb"(?:(?![Cc][Oo][Nn][Tt][Ee][Nn][Tt]-(?:[Ll]|[Tt]))[!#-'*+.0-9A-Z^-z|~-]++:[\x20-\x7e\t]*+\r\n)*+"
_TYPE: Final = rb"(?:[Cc]ontent-[Tt]ype:[ \t]*+([\x20-\x7e]*)\r\n)?"
_WHOLE_REPLY: Final = re.compile(
    rb"HTTP/1\.1 200 [\x20-\x7e]*\r\n"
    + _LINES
    + _TYPE
    + _LINES
    + rb"[Cc]ontent-[Ll]ength: ?(\d{1,9})\r\n"
    + _LINES
    + _TYPE
    + _LINES
    + rb"\r\n"
)
# What makes a reply another kind of message.
_UNUSUAL: Final = re.compile(
    rb"\r\n(?:[Tt]ransfer-[Ee]ncoding|(?:proxy-)?[Cc]onnection|[Uu]pgrade|[Cc]ontent-[Ee]ncoding)[ \t]*:", re.IGNORECASE
)


# Heads up to this size are compared with the last one's.
TEMPLATE_BYTES: Final = 1024
# Heads of replies that are kept. Engines of one kind mostly answer with the same head, so hundreds of engines share a few.
KEPT_REPLIES: Final = 256
_REPLIES: Final[dict[bytes, tuple[Template, bytes, bytes]]] = {}


# What an engine's head may tell the client: when to ask again, what an answer of bytes is, what the request took (OpenAI, vLLM, TGI).
_PASSED_ON: Final = frozenset(
    {
        b"retry-after-ms",
        b"x-should-retry",
        b"metadata",
        b"openai-processing-ms",
        b"openai-version",
        b"server-timing",
        b"x-compute-type",
        b"x-total-time",
        b"x-validation-time",
        b"x-queue-time",
        b"x-inference-time",
        b"x-time-per-token",
        b"x-prompt-tokens",
        b"x-generated-tokens",
    }
)
_PASSED_LINE: Final = re.compile(
    rb"\r\n(" + b"|".join(sorted(_PASSED_ON)) + rb"):[ \t]*([\x20-\x7e]{0,65536})\r", re.IGNORECASE
)

MAX_PASSED: Final = 64 << 10

MAX_CHUNK_DIGITS: Final = 8
# Content codings that zlib reads, and its way to tell them apart by itself.
_DEFLATED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
_ANY_WINDOW: Final = 47


def whole_chunks(data: bytes) -> bytes:
    """The payload of `data`, if that is one or more whole chunks of a chunked body, without extensions, and not its end; else nothing."""
    size = len(data)
    at = 0
    pieces: list[bytes] = []
    while True:
        # Digit by digit: `int` would take blanks, signs, underscores and 0x as well, and compiled this is quicker.
        begin = at
        length = 0
        while at < size and at - begin < MAX_CHUNK_DIGITS:
            digit = data[at]
            if 48 <= digit <= 57:
                digit -= 48
            elif 97 <= digit <= 102:
                digit -= 87
            elif 65 <= digit <= 70:
                digit -= 55
            else:
                break
            length = length * 16 + digit
            at += 1
        begin = at + 2
        end = begin + length
        if (
            not length
            or end + 2 > size
            or data[at] != 13
            or data[at + 1] != 10
            or data[end] != 13
            or data[end + 1] != 10
        ):
            return b""
        at = end + 2
        if at == size and not pieces:
            return data[begin:end]
        pieces.append(data[begin:end])
        if at == size:
            return b"".join(pieces)


def passed_lines(head: bytes) -> bytes:
    """The lines of a reply's head that go on to the client."""
    return b"".join(b"%b: %b\r\n" % (name.lower(), value.strip()) for name, value in _PASSED_LINE.findall(head))


def stands_between_chunks(data: bytes) -> bool:
    """Whether a reply's first bytes, its head among them, end where a chunk does (or may begin)."""
    body_at = data.find(b"\r\n\r\n") + 4
    return data.startswith(b"HTTP/1.1 200 ") and (body_at == len(data) or bool(whole_chunks(data[body_at:])))


class Receiver(Protocol):
    """Who takes an engine's reply. Called from the event loop, never after `reply_ended` or `reply_failed`."""

    def reply_head(self, connection: EngineConnection) -> None:
        """Status and headers are in."""

    def reply_data(self, data: bytes) -> None:
        """A piece of the body."""

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        """A piece of the body, and how it came: whole chunks, in nothing but their framing."""

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        """All of a reply at once, instead of `reply_head`, `reply_data` and `reply_ended`."""

    def reply_ended(self) -> None:
        """The reply is whole; the connection may serve others again."""

    def reply_failed(self, error: EngineError) -> None:
        """The reply will never be whole."""


class Upstream:
    """What connections need of their engine: the idle ones, and the head of its last reply. `Engine` extends it."""

    __slots__ = ("idle", "outbox", "reply", "reply_lines", "reply_type")

    def __init__(self, outbox: Outbox | None) -> None:
        self.idle: EngineConnection | None = None  # the one used last; each knows the one below it
        self.outbox = outbox  # None: everything is written at once
        # The head of the last whole reply, the content type in it, and what of it goes on to the client.
        self.reply: Template | None = None
        self.reply_type = b""
        self.reply_lines = b""

    def take(self) -> EngineConnection | None:
        """An idle connection, the one used last (its engine is least likely to have closed it)."""
        connection = self.idle
        while connection is not None:
            self.idle = connection.below
            connection.below = None
            if not connection.closed:
                return connection
            connection = self.idle
        return None

    def keep(self, connection: EngineConnection) -> None:
        """Nobody uses it now."""
        connection.below = self.idle
        self.idle = connection

    def idle_connections(self) -> list[EngineConnection]:
        """All that nobody uses, the one used last first."""
        found = []
        connection = self.idle
        while connection is not None:
            found.append(connection)
            connection = connection.below
        return found

    def connection_closed(self, connection: EngineConnection) -> None:
        """An idle connection went away."""
        idle = self.idle_connections()
        if connection in idle:
            self.idle = None
            for other in reversed(idle):
                if other is not connection:
                    self.keep(other)

    def close_idle(self) -> None:
        """Close what nobody uses."""
        idle = self.idle_connections()
        self.idle = None
        for connection in idle:
            connection.below = None
            connection.abort()


class EngineConnection:
    """HTTP/1.1 towards one engine, one request at a time. An asyncio protocol, though not by descent: so its compiled form is a plain struct."""

    __slots__ = (
        "_aligned",
        "_begun",
        "_chunked",
        "_done",
        "_framed",
        "_head_in",
        "_head_new",
        "_inflate",
        "_keep",
        "_parser",
        "_pieces",
        "below",
        "closed",
        "content_type",
        "lines",
        "receiver",
        "retry_after",
        "reused",
        "status",
        "transport",
        "upstream",
    )

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self.receiver: Receiver | None = None
        self.closed = False
        self.reused = False
        self.below: EngineConnection | None = None  # the next one that is idle, while this one is (see Upstream.take)
        self.status = 0
        self.content_type = b""
        self.lines = b""  # of the reply's head, what goes on to the client
        self.retry_after = b""
        self._framed = self._chunked = self._aligned = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._inflate: Any = None  # for an engine that compresses without being asked
        self._done = self._keep = self._head_in = self._head_new = self._begun = False

    def send(self, receiver: Receiver, request: bytes, body: bytes = b"") -> None:
        """Send a whole request; its reply goes to `receiver`. `body` is what follows, where it is too large to be copied behind the rest."""
        self.receiver = receiver
        self._done = self._head_in = self._head_new = False
        self.content_type = self.lines = self.retry_after = b""
        self._inflate = None
        self._framed = self._chunked = self._aligned = self._begun = False
        outbox = self.upstream.outbox
        if body:
            if outbox is not None:
                outbox.flush()  # a request before this one must not come after it
            self.transport.writelines((request, body))
        elif outbox is None:
            self.transport.write(request)
        else:
            outbox.put(self.transport, request)

    def abort(self) -> None:
        """Drop the connection at once, so that the engine stops generating."""
        self.receiver = None
        self.closed = True
        self.transport.abort()

    def pause(self) -> None:
        """Stop reading from the engine: the client is slow."""
        if not self.closed:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on: the client has caught up."""
        if not self.closed:
            self.transport.resume_reading()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """The engine closed, or the connection broke."""
        self.closed = True
        # It holds this connection in turn; garbage of that kind would wait long for its collection (worker.py).
        self._parser = None
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            self.upstream.connection_closed(self)
            return
        if exc is None and self._head_in and not self._done and not self._framed:
            # Neither Content-Length nor chunked: closing is how such a reply ends (RFC 9112 section 6.3).
            receiver.reply_ended()
            return
        receiver.reply_failed(EngineError("cut" if self._head_in else "reset", "the engine closed the connection"))

    def eof_received(self) -> None:
        """The engine sends no more: the connection closes."""
        self.closed = True

    def pause_writing(self) -> None:
        """The engine reads slowly. Nothing to do: the request is in memory anyway."""

    def resume_writing(self) -> None:
        """The engine has caught up."""

    def data_received(self, data: bytes) -> None:
        """Bytes of a reply. Bytes without a request end the connection."""
        receiver = self.receiver
        if receiver is None:
            self.abort()
            self.upstream.connection_closed(self)
            return
        first = not self._begun
        if first:
            self._begun = True
            body_at = self._whole(data)
            if body_at:
                # The most common reply: 200, in one piece, with Content-Length, on a connection that stays open. The parser is between two
                # messages and need not see it.
                self.status = 200
                self._head_in = self._done = True
                self.receiver = None
                self.reused = True
                self.upstream.keep(self)
                receiver.whole_reply(self, data[body_at:])
                return
        elif self._aligned:
            # Whole chunks, as streams mostly come. The parser is between two chunks and need not see them.
            body = whole_chunks(data)
            if body:
                receiver.reply_chunks(data, body)
                return
            self._aligned = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
            receiver.reply_failed(EngineError("garbage", "the engine's answer is not HTTP"))
            return
        # The parser's callbacks only store what came. The receiver is called here, where it may drop this connection at any step.
        if self._head_new:
            self._head_new = False
            plain = self._inflate is None
            self._aligned = first and plain and self._chunked and not self._done and stands_between_chunks(data)
            receiver.reply_head(self)
        pieces = self._pieces
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if self.receiver is receiver:
                receiver.reply_data(piece)
        if self._done and self.receiver is receiver:
            self.receiver = None
            if self._keep and not self.closed:
                self.reused = True
                self.upstream.keep(self)
            else:
                self.closed = True
                self.transport.close()
            receiver.reply_ended()

    def _whole(self, data: bytes) -> int:
        """Where the body begins, if this is a whole reply of the usual kind; else 0."""
        upstream = self.upstream
        known = upstream.reply
        if known is not None:
            body_at, length = known.fit(data)
            if body_at:
                self.content_type = upstream.reply_type
                self.lines = upstream.reply_lines
                return body_at if len(data) - body_at == length else 0
        found = _WHOLE_REPLY.match(data)
        if found is None or (found[1] is not None and found[3] is not None) or _UNUSUAL.search(data, 0, found.end()):
            return 0
        body_at = found.end()
        content_type = (found[1] or found[3] or b"").rstrip(b" ")
        if body_at <= TEMPLATE_BYTES:
            before, after = data[: found.start(2)], data[found.end(2) : body_at]
            known_reply = _REPLIES.get(before + after)
            if known_reply is None:
                if len(_REPLIES) >= KEPT_REPLIES:
                    _REPLIES.clear()
                known_reply = _REPLIES[before + after] = (
                    Template(before, after),
                    content_type,
                    passed_lines(data[:body_at]),
                )
            upstream.reply, content_type, upstream.reply_lines = known_reply
            upstream.reply_type = content_type
            self.lines = upstream.reply_lines
        else:
            self.lines = passed_lines(data[:body_at])
        self.content_type = content_type
        return body_at if len(data) - body_at == int(found[2]) else 0

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        """A reply begins. A second one to the same request means that this connection cannot be used again."""
        if self._done:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the reply; few of them matter."""
        size = len(name)
        if size == 12:
            if name.lower() == b"content-type":
                # In pieces, llhttp leaves the blanks at the end.
                self.content_type = value.rstrip(b" \t")
        elif (size == 14 and name.lower() == b"content-length") or (
            size == 17 and name.lower() == b"transfer-encoding"
        ):
            self._framed = True
            self._chunked = size == 17 and value.lower() == b"chunked"
        elif size == 16 and name.lower() == b"content-encoding" and value.strip().lower() in _DEFLATED:
            self._inflate = zlib.decompressobj(_ANY_WINDOW)
        elif size == 11 and name.lower() == b"retry-after":
            self.retry_after = value.strip()
        elif name.lower() in _PASSED_ON and len(value) <= MAX_PASSED and value.isascii():
            self.lines += b"%b: %b\r\n" % (name.lower(), value.strip())

    def on_headers_complete(self) -> None:
        """The reply's head is whole."""
        status = self._parser.get_status_code()
        if status < 200:
            self.content_type = self.lines = b""  # 100 Continue and its like: the real head follows
            self._framed = self._chunked = False
        elif self._done:
            self._keep = False
        else:
            self.status = status
            self._keep = self._parser.should_keep_alive()
            self._head_in = self._head_new = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its framing."""
        if self._inflate is not None:
            body = self._inflate.decompress(body)
        if not self._done and body:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The reply's end (or an interim reply's)."""
        if self._head_in:
            self._done = True
