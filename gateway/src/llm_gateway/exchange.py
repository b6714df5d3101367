# SPDX-License-Identifier: Apache-2.0
"""One request on its way: admitted, given an engine, relayed, finished; or failed over, refused, abandoned.

An exchange never awaits on the hot path: the client's connection starts it, the engine's connection drives it by callbacks. What it
decides is in other modules (limits, dispatch, choice, protocols); here is only the order of things.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from llm_gateway.errors import ApiError, EngineError, forbidden, model_not_found, printable, reason_phrase, unavailable
from llm_gateway.protocols import openai

if TYPE_CHECKING:
    from llm_gateway.dispatch import Dispatcher
    from llm_gateway.gateway import Gateway
    from llm_gateway.http.head import Head
    from llm_gateway.keys import Key
    from llm_gateway.upstream.connection import EngineConnection
    from llm_gateway.upstream.engine import Engine

# A plain reply up to this size is sent once it is whole, so that a cut in its middle can still fail over.
BUFFERED_REPLY_BYTES = 4 << 20
# Usage stands at a reply's end.
TAIL_BYTES = 2048
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_SSE_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\n", b"\r\n", b"\xef\xbb\xbf")


class Phase(Enum):
    """Where a request is."""

    QUEUED = "queued"
    CONNECTING = "connecting"
    WAITING = "waiting"  # the engine has it, the client has nothing yet
    RELAYING = "relaying"  # the client has the first bytes: no other engine can take over
    OVER = "over"


class Client(Protocol):
    """The client's side of an exchange."""

    http11: bool
    keep_alive: bool
    writing_paused: bool

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def exchange_over(self, *, keep: bool) -> None:
        """The reply is out; without `keep` the connection must close."""

    def abort(self) -> None:
        """Break the connection: the only honest end of a reply that cannot be finished."""


class Exchange:
    """One request and its reply."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_last_newline",
        "_pieces",
        "_reply_type",
        "_size",
        "_task",
        "asked",
        "attempts",
        "body",
        "client",
        "comment_at",
        "dispatcher",
        "engine",
        "engine_at",
        "engine_name",
        "events",
        "first_byte_at",
        "gateway",
        "head",
        "head_sent",
        "key",
        "last_byte_at",
        "last_error",
        "model",
        "path",
        "phase",
        "prefix",
        "reason",
        "request_id",
        "session",
        "started_at",
        "status",
        "stream",
        "tail",
        "tried",
        "usage",
    )

    def __init__(self, gateway: Gateway, client: Client, head: Head, body: bytes, key: Key) -> None:
        self.gateway = gateway
        self.client = client
        self.head = head
        self.body = body
        self.key = key
        self.path = head.path
        self.request_id = head.request_id or gateway.new_request_id()
        self.started_at = monotonic()
        self.phase = Phase.QUEUED
        self.model = ""
        self.stream = False
        self.prefix = b""
        self.session = head.session
        self.dispatcher: Dispatcher | None = None
        self.engine: Engine | None = None
        self.tried: set[Engine] = set()
        self.attempts = 0
        self.engine_at = 0.0
        self.engine_name = ""
        self.first_byte_at = 0.0
        self.last_byte_at = 0.0
        self.comment_at = 0.0
        self.events = 0
        self.head_sent = False
        self.status = 0
        self.reason = ""
        self.tail = b""
        self.usage: tuple[int, int] | None = None
        self.last_error: EngineError | ApiError | None = None
        self._connection: EngineConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._chunked = False
        self._last_newline = False
        self._reply_type = b"application/json"

    # --- towards an engine

    def begin(self) -> None:
        """Start. Whatever happens, the client gets an answer or is gone."""
        gateway = self.gateway
        try:
            self.asked = asked = openai.read(self.body)
            self.model = model = asked.model
            self.stream = asked.stream is True
            dispatcher = gateway.dispatchers.get(model)
            if dispatcher is None:
                self.model = ""
                raise model_not_found(model)
            if not self.key.may_use(model):
                raise forbidden(f"This key may not use the model '{printable(model)}'.", code="model_not_allowed")
            self.dispatcher = dispatcher
            gateway.active.add(self)
            engine = dispatcher.ask(self)
        except ApiError as error:
            self.refuse(error)
            return
        if engine is not None:
            self.granted(engine)

    def granted(self, engine: Engine) -> None:
        """An engine was chosen and counts this request already."""
        self.engine = engine
        self.engine_name = engine.name
        self.attempts += 1
        self.engine_at = monotonic()
        connection = engine.take()
        if connection is None:
            self.phase = Phase.CONNECTING
            self._task = asyncio.get_running_loop().create_task(self._connect(engine))
        else:
            self._send(connection)

    async def _connect(self, engine: Engine) -> None:
        try:
            connection = await engine.connect(self.gateway.settings.connect_timeout)
        except EngineError as error:
            self._task = None
            self._engine_failed(error)
            return
        self._task = None
        self._send(connection)

    def _send(self, connection: EngineConnection) -> None:
        engine = connection.engine
        extra = b"x-request-id: %b\r\n" % self.request_id
        if self.head.traceparent is not None:
            extra += b"traceparent: %b\r\n" % self.head.traceparent
        self.phase = Phase.WAITING
        self._connection = connection
        self._pieces = []
        self._size = 0
        connection.send(self, engine.frame(self.path, extra, self.body))

    # --- the engine's reply

    def reply_head(self, connection: EngineConnection) -> None:
        """See Receiver."""
        for name, value in connection.headers:
            if name == b"content-type":
                self._reply_type = value
                return
        self._reply_type = b""

    def reply_data(self, data: bytes) -> None:
        """See Receiver."""
        if self.phase is Phase.RELAYING:
            self.last_byte_at = monotonic()
            self._relay(data)
            return
        connection = self._connection
        if connection is None:
            return
        if connection.status == 200 and self._reply_type.startswith(b"text/event-stream"):
            if not data.startswith(_SSE_STARTS):
                self._drop_connection()
                self._engine_failed(EngineError("garbage", "the engine's stream is no event stream"))
                return
            self._begin_relay(data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BUFFERED_REPLY_BYTES:
            if connection.status != 200:
                self._drop_connection()
                self._engine_failed(EngineError("garbage", "the engine's error reply is endless"))
                return
            pieces, self._pieces = self._pieces, []
            self._begin_relay(b"".join(pieces))

    def reply_ended(self) -> None:
        """See Receiver."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        if self.phase is Phase.RELAYING:
            if self.usage is None:
                self.usage = openai.usage_in(self.tail)
            if self._chunked:
                self.client.write(b"0\r\n\r\n")
            self._engine_answered()
            self._over(200, "")
            return
        self._whole_reply(connection.status)

    def reply_failed(self, error: EngineError) -> None:
        """See Receiver."""
        connection = self._connection
        self._connection = None
        if (
            connection is not None
            and connection.reused
            and error.kind == "reset"
            and not self._size
            and self.engine is not None
        ):
            # The engine closed an idle connection just as it was taken: not its fault, and nothing was asked yet.
            self.engine.close_idle()
            self.granted_again(self.engine)
            return
        self._engine_failed(error)

    def granted_again(self, engine: Engine) -> None:
        """Ask the same engine once more, over a new connection."""
        self.phase = Phase.CONNECTING
        self._task = asyncio.get_running_loop().create_task(self._connect(engine))

    def _whole_reply(self, status: int) -> None:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        if status == 200:
            if not body.rstrip().endswith(b"}") and not body.rstrip().endswith(b"]"):
                self._engine_failed(EngineError("garbage", "the engine's reply is not JSON"))
                return
            self.first_byte_at = self.last_byte_at = monotonic()
            self.usage = openai.usage_in(body[-TAIL_BYTES:]) or openai.usage_in(body)
            self._engine_answered()
            if self.head_sent:
                self._event(b"data: %b\n\ndata: [DONE]\n\n" % body.strip(), last=True)
            else:
                self._reply(200, b"content-type: application/json\r\n", body)
            self._over(200, "")
            return
        error = openai.from_engine(status, body)
        if status in _RETRIED_STATUSES:
            self.last_error = error
            self._engine_failed(EngineError("status", f"the engine answered with status {status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def _begin_relay(self, data: bytes) -> None:
        self.phase = Phase.RELAYING
        self.first_byte_at = self.last_byte_at = monotonic()
        if not self.head_sent:
            prefix = self._stream_head(self._reply_type)
            self._relay(data, prefix)
        else:
            self._relay(data)

    def _stream_head(self, content_type: bytes) -> bytes:
        self.head_sent = True
        self.status = 200
        if self.client.http11:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self.client.keep_alive = False
            framing = b""
        return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\nx-request-id: %b\r\n%b%b\r\n" % (
            content_type,
            self.request_id,
            framing,
            b"" if self.client.keep_alive else b"connection: close\r\n",
        )

    def _relay(self, data: bytes, prefix: bytes = b"") -> None:
        self.events += data.count(b"\n\n") + data.count(b"\r\n\r\n")
        if self._last_newline and data.startswith(b"\n"):
            self.events += 1
        self._last_newline = data.endswith(b"\n")
        if b'"usage"' in data:
            self.usage = openai.usage_in(data) or self.usage
        self.tail = data
        self.client.write(b"%b%x\r\n%b\r\n" % (prefix, len(data), data) if self._chunked else prefix + data)

    # --- when an engine fails

    def _engine_failed(self, error: EngineError, reply: ApiError | None = None) -> None:
        engine, self.engine = self.engine, None
        if engine is None or self.dispatcher is None:
            return
        gateway = self.gateway
        self.last_error = reply or error
        self.tried.add(engine)
        gateway.engine_failed(engine, error)
        if self.phase is Phase.RELAYING:
            gateway.engine_released(engine)
            self._cut(error)
            return
        another = None
        if self.attempts <= gateway.settings.retries and gateway.may_retry():
            another = self.dispatcher.ask_another(self)
        gateway.engine_released(engine)
        if another is not None:
            gateway.metrics.failovers.add(error.kind)
            self.granted(another)
            return
        self.refuse(self._verdict(error))

    def _verdict(self, error: EngineError) -> ApiError:
        if isinstance(self.last_error, ApiError):
            return self.last_error
        if error.kind in ("first_byte_timeout", "request_timeout"):
            return ApiError(
                504, "No engine answered in time. Try again later.", code="engine_timeout", error_type="server_error"
            )
        if error.kind in ("refused", "unreachable", "connect_timeout"):
            return unavailable("No engine can be reached. Try again later.")
        return ApiError(
            502, "The engine's answer broke off. Try again.", code="engine_error", error_type="server_error"
        )

    def _cut(self, error: EngineError) -> None:
        """The reply cannot be finished: say so in the stream where there is one, and never let it look whole."""
        if self._reply_type.startswith(b"text/event-stream"):
            body = ApiError(
                502, "The engine's stream broke off.", code="engine_error", error_type="server_error"
            ).body()
            self._event(b"data: %b\n\n" % body)
        self._finish(200, error.kind)
        self.client.abort()

    # --- towards the client

    def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        if self.phase is Phase.OVER:
            return
        self._leave_engine()
        if self.head_sent:
            self._event(b"data: %b\n\ndata: [DONE]\n\n" % error.body(), last=True)
        else:
            self._reply(error.status, b"content-type: application/json\r\n" + error.header_lines(), error.body())
        self._over(error.status, error.reason)

    def _reply(self, status: int, headers: bytes, body: bytes) -> None:
        self.client.write(
            b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b"
            % (
                status,
                reason_phrase(status).encode() if status != 200 else b"OK",
                headers,
                self.request_id,
                len(body),
                b"" if self.client.keep_alive else b"connection: close\r\n",
                body,
            )
        )

    def client_gone(self) -> None:
        """The client left: the engine must stop at once."""
        if self.phase is Phase.OVER:
            return
        self._leave_engine()
        self._finish(499, "client_gone")

    def client_slow(self) -> None:
        """The client does not keep up: let the engine wait."""
        if self._connection is not None:
            self._connection.pause()

    def client_ready(self) -> None:
        """The client has caught up."""
        if self._connection is not None:
            self._connection.resume()

    def _leave_engine(self) -> None:
        self._drop_connection()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        engine, self.engine = self.engine, None
        if engine is not None:
            self.gateway.engine_released(engine)
        elif self.dispatcher is not None and self.phase is Phase.QUEUED:
            self.dispatcher.leave(self)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _engine_answered(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            self.gateway.engine_answered(engine)
            self.gateway.engine_released(engine)
            self.tried = {engine}

    def _over(self, status: int, reason: str) -> None:
        self._finish(status, reason)
        self.client.exchange_over(keep=True)

    def _finish(self, status: int, reason: str) -> None:
        self.phase = Phase.OVER
        self.status = status
        self.reason = reason
        self.gateway.active.discard(self)
        self.gateway.finished(self)

    # --- the clock

    def tick(self, now: float) -> None:
        """Called now and then: enforce what is a matter of time."""
        settings = self.gateway.settings
        if now - self.started_at > settings.request_timeout:
            self._timed_out("request_timeout")
        elif self.phase is Phase.QUEUED:
            if now - self.started_at > settings.queue_timeout:
                self.refuse(
                    unavailable("No engine had room in time. Try again later.", code="queue_timeout", retry_after_s=5)
                )
            elif self.stream:
                self._keep_alive(now, settings.sse_comment_interval)
        elif self.phase is Phase.RELAYING:
            if settings.stall_timeout and now - self.last_byte_at > settings.stall_timeout:
                self._timed_out("stalled")
            elif self.stream:
                self._keep_alive(now, settings.sse_comment_interval)
        elif self.stream:
            if settings.first_byte_timeout and now - self.engine_at > settings.first_byte_timeout:
                self._timed_out("first_byte_timeout")
            else:
                self._keep_alive(now, settings.sse_comment_interval)

    def _keep_alive(self, now: float, interval_s: float) -> None:
        since = max(self.last_byte_at, self.comment_at, self.started_at)
        if not interval_s or now - since < interval_s or self.client.writing_paused:
            return
        if not self.head_sent:
            self.client.write(self._stream_head(b"text/event-stream; charset=utf-8"))
        elif self.phase is Phase.RELAYING and not self.tail.endswith((b"\n\n", b"\r\n\r\n")):
            return  # in the middle of an event
        self.comment_at = now
        self._event(b": keep-alive\n\n")

    def _event(self, event: bytes, *, last: bool = False) -> None:
        """Write one of our own events into a stream whose head is out."""
        end = b"0\r\n\r\n" if last else b""
        self.client.write(b"%x\r\n%b\r\n%b" % (len(event), event, end) if self._chunked else event)

    def _timed_out(self, kind: str) -> None:
        self._drop_connection()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        error = EngineError(kind, "the engine took too long")
        if kind == "request_timeout" and self.phase is not Phase.RELAYING:
            self.refuse(self._verdict(error))
        else:
            self._engine_failed(error)
