# SPDX-License-Identifier: Apache-2.0
"""A client's connection: a state machine that reads requests, starts exchanges, and hands everything unusual to Sanic.

Inference requests (a POST to one of the data path's routes) never become Sanic requests: their head is parsed once, their body is taken as
it comes, and an `Exchange` writes the reply straight to the transport. All other requests are handed, canonically rewritten, to Sanic's
own protocol on this connection, which closes after the one reply.
"""

from __future__ import annotations

import socket
from enum import Enum
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httptools
from sanic.server.protocols.http_protocol import HttpProtocol

from llm_gateway.callers.caller import NOBODY, Caller
from llm_gateway.data_path.exchange import Exchange
from llm_gateway.errors import ApiError, invalid_key, malformed, reason_phrase, too_large
from llm_gateway.http.head import keys_shown, plausible
from llm_gateway.http.origin import Origin, peer_address
from llm_gateway.protocols import doors, tables
from llm_gateway.protocols.codings import decoded
from llm_gateway.telemetry.ended import EndedRequest, Times

if TYPE_CHECKING:
    import asyncio

    from llm_gateway.data_path.services import Services
    from llm_gateway.http.head import Head
    from llm_gateway.http.template import Template

# A refused body is read and dropped up to this much, so that the client gets to see the refusal instead of a reset.
DISCARD_BYTES: Final = 512 << 20
DISCARD_S: Final = 30.0
# A chunk of one byte has five bytes of framing.
FRAMING_PER_BYTE: Final = 8
# A pipelining client may be this far ahead.
PIPELINED_BYTES: Final = 64 << 10
WRITE_BUFFER_HIGH: Final = 256 << 10
WRITE_BUFFER_LOW: Final = 64 << 10
# A client that says no more is asked so often whether it is still there.
KNOCK_S = 5.0
# How soon after it is looked at whether it was not; after that, with each tick.
RESET_S: Final = 0.05
_TCP_CLOSE: Final = 7  # linux/include/net/tcp_states.h


class State(Enum):
    """What the connection is doing."""

    HEAD = "head"  # waiting for, or reading, a request's head
    BODY = "body"  # reading a body of known length
    CHUNKED = "chunked"  # reading a chunked body
    BUSY = "busy"  # an exchange is under way
    SANIC = "sanic"  # Sanic has it, for good
    DISCARD = "discard"  # refused; reading what still comes, then closing
    CLOSED = "closed"


_HEAD: Final = State.HEAD
_BODY: Final = State.BODY
_CHUNKED: Final = State.CHUNKED
_BUSY: Final = State.BUSY
_SANIC: Final = State.SANIC
_DISCARD: Final = State.DISCARD
_CLOSED: Final = State.CLOSED


class _ChunkedBody:
    """llhttp's callbacks for a chunked body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self.size += len(body)

    def on_message_complete(self) -> None:
        self.complete = True


def was_reset(transport: Any) -> bool:
    """Whether the other end has answered something with a reset. Nobody else tells: who reads no more is not told."""
    try:
        state: bytes = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except (OSError, AttributeError):
        return False  # not Linux: the next write tells
    return state[0] == _TCP_CLOSE


def begin(connection: ClientConnection, head: Head, caller: Caller, body: bytes, rest: bytes) -> None:
    """Start the exchange of a whole request; `rest` came after it. A function: compiled, calling it is cheaper than calling a method."""
    services = connection.services
    if head.coding:
        try:
            body = decoded(head.coding, body, services.settings.max_body)
        except ApiError as error:
            connection.refuse_body(head, caller, error)
            return
    connection.mode = _BUSY
    connection._buffer = rest
    origin = connection._origin
    if origin is None or origin.head is not head:
        origin = connection._origin = Origin(head, connection._peer, services.settings.trusted_proxies)
    exchange = connection.exchange = Exchange(services, connection, head, body, caller, origin)
    exchange.begin()
    if connection._ended and connection.exchange is exchange:
        connection.knock()


class ClientConnection(HttpProtocol):
    """One client connection. Implements `reply.Client`."""

    __slots__ = (
        "_buffer",
        "_caller",
        "_chunks",
        "_deadline",
        "_digest",
        "_discarded",
        "_ended",
        "_head",
        "_knocked_at",
        "_known",
        "_missing",
        "_origin",
        "_parser",
        "_peer",
        "_pieces",
        "_raw",
        "exchange",
        "http11",
        "keep_alive",
        "mode",
        "services",
        "writing_paused",
    )

    # Sanic allows None here, which it only is before the connection stands and after it is gone.
    transport: Any  # pylint: disable=declare-non-slot

    def __init__(self, *, loop: asyncio.AbstractEventLoop, app: Any, **kwargs: Any) -> None:
        super().__init__(loop=loop, app=app, **kwargs)
        self.services: Services = app.ctx.gateway
        self.mode = _HEAD
        self.exchange: Exchange | None = None
        self.http11 = True
        self.keep_alive = True
        self.writing_paused = False
        self._buffer = b""
        self._head: Head | None = None
        self._caller: Caller | None = None
        # The last head, if it came twice: its template, what it was parsed to, and its key. The next one is most likely the same.
        self._known: tuple[Template, Head, bytes | None, bytes | None] | None = None
        self._digest: bytes | None = None
        self._pieces: list[bytes] = []
        self._missing = 0
        self._discarded = 0
        self._raw = 0  # bytes of a chunked body as it came
        self._chunks: _ChunkedBody | None = None
        self._parser: Any = None
        self._deadline = 0.0
        self._peer = ""
        self._origin: Origin | None = None
        self._ended = False  # the client says no more
        self._knocked_at = 0.0

    # --- asyncio's callbacks

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        services = self.services
        self.transport = transport
        if len(services.connections) >= services.settings.max_connections:
            self.mode = _CLOSED
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_HIGH, low=WRITE_BUFFER_LOW)
        services.connections.add(self)
        self._peer = peer_address(transport)
        self._deadline = monotonic() + services.settings.head_timeout

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        mode = self.mode
        if mode is _HEAD:
            if self._buffer:
                data = self._buffer + data
            # In line, for speed.
            known = self._known
            if known is not None:
                template, head, digest, token = known
                end, length = template.fit(data)
                services = self.services
                if 0 < end <= services.settings.max_head and length <= services.settings.max_body:
                    caller = services.admission.caller(digest, token)
                    if caller is not None:
                        self.http11 = head.http11
                        self.keep_alive = head.keep_alive and not services.draining
                        if len(data) == end + length:
                            begin(self, head, caller, data[end:], b"")
                        else:
                            self._take_body(head, caller, length, data[end:])
                        return
            self._read_head(data)
        elif mode is _BODY:
            self._read_body(data)
        elif mode is _BUSY:
            self._buffer += data
            if len(self._buffer) > PIPELINED_BYTES:
                self.transport.pause_reading()
        elif mode is _SANIC:
            super().data_received(data)
        elif mode is _CHUNKED:
            self._read_chunked(data)
        elif mode is _DISCARD:
            self._discard(len(data))

    def eof_received(self) -> bool:
        """The client says no more. True: it may still wait for its answer (RFC 9112 section 9.6 lets it), so the connection stays."""
        if self.mode is not _BUSY or self.transport.get_extra_info("sslcontext") is not None:
            return False
        self._ended = True
        if self.exchange is not None:
            self.knock()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.services.connections.discard(self)
        if self.mode is _SANIC:
            super().connection_lost(exc)  # type: ignore[no-untyped-call]
            return
        self.mode = _CLOSED
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self._pieces = []
        self._buffer = b""

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self.writing_paused = True
        if self.mode is _SANIC:
            super().pause_writing()  # type: ignore[no-untyped-call]
        elif self.exchange is not None:
            self.exchange.client_slow()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.writing_paused = False
        if self.mode is _SANIC:
            super().resume_writing()  # type: ignore[no-untyped-call]
        elif self.exchange is not None:
            self.exchange.client_ready()

    # --- a client that says no more

    def knock(self) -> None:
        """Find out whether it only says no more, or has left: both look the same until something is sent. One that has left resets the
        connection then."""
        exchange = self.exchange
        if exchange is None:
            return
        self._knocked_at = monotonic()
        if exchange.knock():
            self.services.outbox.flush()
            self.loop.call_later(RESET_S, self._look)
        else:
            self._gone()

    def _look(self) -> None:
        if self.mode is not _BUSY or self.exchange is None:
            return
        if was_reset(self.transport):
            self._gone()
        elif monotonic() - self._knocked_at > KNOCK_S:
            self.knock()

    def _gone(self) -> None:
        self.mode = _CLOSED
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.transport.abort()

    # --- reading

    def _read_head(self, data: bytes) -> None:
        services = self.services
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._incomplete_head(data)
            return
        try:
            if end > services.settings.max_head:
                raise ApiError(431, "The request head is too large.", code="head_too_large")
            head, length, digest, token = services.heads.find(data[:end])
        except ApiError as error:
            self._refuse(error, 0)
            return
        self._buffer = b""
        self._head = head
        self.http11 = head.http11
        self.keep_alive = head.keep_alive and not services.draining
        if head.origin is not None and head.method == b"OPTIONS":
            wanted = dict(head.headers).get(b"access-control-request-headers", b"")
            reply = services.cors.preflight(head.origin, wanted)
            if reply:
                services.outbox.put(self.transport, reply)
                self.mode = _CLOSED
                services.outbox.close(self.transport)
                return
        if head.path not in doors.POSTED:
            # Sanic gets all of the head.
            self._to_sanic(services.heads.parse(data[:end])[0], length, data[end:])
            return
        try:
            if head.method != b"POST":
                raise ApiError(405, "Use POST.", code="method_not_allowed", headers=(("allow", "POST"),))
            caller = services.admission.caller(digest, token)
            if caller is None:
                caller, digest, token = self._by_another_key(data[:end])
            if length > services.settings.max_body:
                raise too_large(services.settings.max_body)
            if length < 0 and not head.chunked:
                raise ApiError(411, "Send a JSON body with its Content-Length.", code="length_required")
        except ApiError as error:
            self._refuse(error, length if length >= 0 else DISCARD_BYTES if head.chunked else 0, len(data) - end)
            return
        self._head = None
        if length >= 0 and digest is not None and digest == self._digest:
            found = services.heads.template(data[:end], head)
            self._known = None if found is None else (found, head, digest, token)
        else:
            self._digest = digest
            self._known = None
        self._take_body(head, caller, length, data[end:])

    def _by_another_key(self, head: bytes) -> tuple[Caller, bytes | None, bytes | None]:
        """(caller, SHA-256 of the key, key) by whichever of the keys shown is good. Raises ApiError 401."""
        services = self.services
        for token in keys_shown(dict(services.heads.parse(head)[0].headers))[1:]:
            digest = sha256(token).digest()
            caller = services.admission.caller(digest, token)
            if caller is not None:
                return caller, digest, token
        raise invalid_key()

    def _take_body(self, head: Head, caller: Caller, length: int, rest: bytes) -> None:
        """Begin, or wait for the rest of the body. `length` below 0: it comes in chunks. `rest` is what came after the head."""
        if 0 <= length <= len(rest):
            whole = len(rest) == length
            begin(self, head, caller, rest if whole else rest[:length], b"" if whole else rest[length:])
            return
        self._expect(head)
        self._buffer = b""
        self._head = head
        self._caller = caller
        self._deadline = monotonic() + self.services.settings.body_timeout
        if length >= 0:
            self.mode = _BODY
            self._pieces = [rest]
            self._missing = length - len(rest)
        else:
            self.mode = _CHUNKED
            self._chunks = _ChunkedBody()
            self._raw = 0
            self._parser = httptools.HttpRequestParser(self._chunks)
            self._parser.feed_data(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            if rest:
                self._read_chunked(rest)

    def forget_key(self) -> None:
        """Keys have changed: a revoked one should not linger in memory. (Nor should anything else of the settings before.)"""
        self._known = None
        self._origin = None

    def _incomplete_head(self, data: bytes) -> None:
        if len(data) > self.services.settings.max_head:
            self._refuse(ApiError(431, "The request head is too large.", code="head_too_large"), 0)
        elif not plausible(data.lstrip(b"\r\n")[:17]) and data.strip(b"\r\n"):
            self._refuse(malformed("This is not HTTP/1.1."), 0)
        else:
            if not self._buffer:
                self._deadline = monotonic() + self.services.settings.head_timeout
            self._buffer = data

    def _expect(self, head: Head) -> None:
        if head.expects_continue:
            self.services.outbox.put(self.transport, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self, data: bytes) -> None:
        missing = self._missing - len(data)
        if missing > 0:
            self._pieces.append(data)
            self._missing = missing
            self._deadline = monotonic() + self.services.settings.body_timeout
            return
        rest = b""
        if missing < 0:
            data, rest = data[:missing], data[missing:]
        self._pieces.append(data)
        pieces, self._pieces = self._pieces, []
        self._body_in(b"".join(pieces), rest)

    def _read_chunked(self, data: bytes) -> None:
        chunks = self._chunks
        if chunks is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(malformed("The chunked body is broken."), 0)
            return
        self._raw += len(data)
        if self._raw > self.services.settings.max_head + chunks.size * (1 + FRAMING_PER_BYTE):
            # Extensions of chunks, and trailers: what nobody reads must not come without end.
            self._refuse(
                ApiError(431, "The chunked body's framing is too large.", code="head_too_large"), DISCARD_BYTES
            )
        elif chunks.size > self.services.settings.max_body:
            self._refuse(too_large(self.services.settings.max_body), DISCARD_BYTES)
        elif chunks.complete:
            self._chunks = self._parser = None
            # Whatever follows a chunked body is not looked at: the connection closes after this reply.
            self.keep_alive = False
            self._body_in(b"".join(chunks.pieces), b"")
        else:
            self._deadline = monotonic() + self.services.settings.body_timeout

    def _body_in(self, body: bytes, rest: bytes) -> None:
        head, caller = self._head, self._caller
        self._head = self._caller = None
        if head is not None and caller is not None:
            begin(self, head, caller, body, rest)

    # --- refusing

    def refuse_body(self, head: Head, caller: Caller, error: ApiError) -> None:
        """Answer with an error to a request that is whole, but not understood."""
        self._head, self._caller = head, caller
        self._refuse(error, 0)
        self._head = self._caller = None

    def _refuse(self, error: ApiError, announced: int, had: int = 0) -> None:
        """Answer with an error before any exchange. `announced` body bytes may still come; they are read, so that the answer is seen."""
        head = self._head
        lines = error.header_lines()
        if head is None:
            body = error.body()
            self.services.metrics.requests.add("", str(error.status), error.reason)
        else:
            body = tables.error_body(head.path, error)
            request_id = head.request_id or self.services.ids.new()
            lines += b"x-request-id: %b\r\n" % request_id
            self._record(error, head, request_id)
            if head.origin is not None:
                lines += self.services.cors.lines(head.origin)
        self.services.outbox.put(
            self.transport,
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (error.status, reason_phrase(error.status).encode(), lines, len(body), body),
        )
        self.mode = _DISCARD
        self._buffer = b""
        self._pieces = []
        self._chunks = self._parser = None
        self._discarded = 0
        self._missing = min(announced, DISCARD_BYTES)
        self._deadline = monotonic() + DISCARD_S
        self._discard(had)

    def _record(self, error: ApiError, head: Head, request_id: bytes) -> None:
        """Count, log and trace a request that is refused before any exchange."""
        services = self.services
        now = monotonic()
        ended = EndedRequest(
            ended_at=now,
            times=Times(now),
            caller=NOBODY if self._caller is None else self._caller,
            request_id=request_id,
            path=head.path,
            route=head.path,
            model="",
            asked_model="",
            metrics=None,
            stream=False,
            status=error.status,
            reason=error.reason,
            engine="",
            attempts=0,
            queued=False,
            prompt_tokens=None,
            completion_tokens=None,
            span=None if services.tracer is None else services.tracer.begin(head.traceparent),
            client=Origin(head, self._peer, services.settings.trusted_proxies).address,
        )
        services.recorder.refused(ended)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded >= self._missing:
            self._linger()

    def _linger(self) -> None:
        """Close so that what was written still arrives: say "no more", and let the client close."""
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof() and self._missing:
            self.services.outbox.flush()
            self.transport.write_eof()
            self._missing = DISCARD_BYTES
            self._discarded = 0
            self._deadline = monotonic() + 2.0
            if self.mode is not _DISCARD:
                self.mode = _DISCARD
        else:
            self.services.outbox.close(self.transport)

    # --- reply.Client

    def exchange_over(self) -> None:
        """See Client."""
        services = self.services
        self.exchange = None
        if not self.keep_alive or services.draining or (self._ended and not self._buffer):
            self.mode = _CLOSED
            services.outbox.close(self.transport)
            return
        self._deadline = monotonic() + services.settings.keep_alive_timeout
        if self._buffer:
            # Not at once: a client that pipelines thousands of requests must not build a stack of them. Busy until then, as what comes
            # meanwhile comes after what is here already.
            self.loop.call_soon(self._next)
        else:
            self.mode = _HEAD

    def _next(self) -> None:
        if self.mode is _BUSY and self.exchange is None and not self.transport.is_closing():
            self.mode = _HEAD
            rest, self._buffer = self._buffer, b""
            self.transport.resume_reading()
            self.data_received(rest)

    def abort(self) -> None:
        """See Client."""
        self.exchange = None
        if self.mode is _SANIC:
            super().abort()  # type: ignore[no-untyped-call]
            return
        self.mode = _CLOSED
        # What was written before should still go out; then the connection ends without the reply's own end.
        self.services.outbox.close(self.transport)

    def cut(self) -> None:
        """End whatever is under way: the drain's time is over."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        if self.mode is _SANIC:
            super().abort()  # type: ignore[no-untyped-call]
            return
        self.mode = _CLOSED
        self.transport.abort()

    # --- Sanic

    def _to_sanic(self, head: Head, length: int, rest: bytes) -> None:
        if head.chunked:
            self._refuse(
                ApiError(411, "Send a body with its Content-Length.", code="length_required"), DISCARD_BYTES, len(rest)
            )
            return
        if length > self.services.settings.max_body:
            self._refuse(too_large(self.services.settings.max_body), length, len(rest))
            return
        self._expect(head)
        self.mode = _SANIC
        services = self.services
        services.outbox.flush()
        super().connection_made(self.transport)  # type: ignore[no-untyped-call]
        services.connections.add(self)
        super().data_received(head.canonical(length) + (rest[:length] if length > 0 else b""))

    # --- the clock and the end

    def tick(self, now: float) -> None:
        """Called now and then: enforce time limits."""
        if self._ended:
            self._look()
        if now < self._deadline:
            return
        if self.mode is _HEAD:
            if self._buffer:
                self._refuse(ApiError(408, "The request's head did not arrive in time.", code="head_timeout"), 0)
            elif not self.transport.is_closing():
                self.services.outbox.close(self.transport)
        elif self.mode in (_BODY, _CHUNKED):
            self._refuse(ApiError(408, "The request's body did not arrive in time.", code="body_timeout"), 0)
        elif self.mode is _DISCARD:
            self.mode = _CLOSED
            self.transport.abort()

    def close_if_idle(self) -> bool:
        """Close unless a request is being served. True when closed."""
        if self.mode is _SANIC:
            return bool(super().close_if_idle())
        if self.mode is _HEAD and not self._buffer:
            self.mode = _CLOSED
            self.services.outbox.close(self.transport)
            return True
        return False

    @property
    def busy(self) -> bool:
        """Whether a request is being read or served."""
        return self.mode in (_BODY, _CHUNKED, _BUSY, _SANIC) or (self.mode is _HEAD and bool(self._buffer))
