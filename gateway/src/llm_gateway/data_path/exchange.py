# SPDX-License-Identifier: Apache-2.0
"""One request on its way: admitted, given an engine, relayed, finished; or failed over, refused, abandoned.

An exchange never awaits on the hot path: the client's connection starts it, the engine's connection drives it by callbacks. What it
decides is in other modules (limits, dispatch, routing, protocols, resume); here is only the order of things.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Raw

from llm_gateway.engines.probe import ask_models
from llm_gateway.engines.routing import ENDS, Prefix
from llm_gateway.errors import ApiError, EngineError, printable, reason_phrase, unavailable
from llm_gateway.protocols import Translation, UntranslatableReply, chat, multipart, openai, tables

if TYPE_CHECKING:
    from llm_gateway.callers.caller import Caller
    from llm_gateway.callers.limits import Subject, Ticket
    from llm_gateway.data_path.resume import Transcript
    from llm_gateway.engines.connection import EngineConnection
    from llm_gateway.engines.dispatch import Dispatcher
    from llm_gateway.engines.engine import Engine
    from llm_gateway.gateway import Gateway
    from llm_gateway.http.head import Head
    from llm_gateway.protocols.asked import Asked
    from llm_gateway.telemetry.instruments import Histogram
    from llm_gateway.telemetry.tracing import Span

# A plain reply up to this size is sent once it is whole, so that a cut in its middle can still fail over.
BUFFERED_REPLY_BYTES: Final = 4 << 20
# What is translated must be whole; pictures and log probabilities make some megabytes.
TRANSLATED_REPLY_BYTES: Final = 64 << 20
# Usage stands at a reply's end.
TAIL_BYTES: Final = 2048
# A policy looks at this much of a prompt at most.
PREFIX_BYTES: Final = ENDS[-1]
BYTES_PER_TOKEN: Final = 4
# Copying a body of this size costs more than handing the kernel two pieces.
APART_BYTES: Final = 16 << 10
_RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_SSE_STARTS: Final[tuple[bytes, ...]] = (b"data:", b"event:", b":", b"id:", b"retry:", b"\n", b"\r\n", b"\xef\xbb\xbf")
_ENDS_OF_JSON: Final = (125, 93)  # a brace, a bracket
_JSON: Final = b"application/json"
_EVENT_STREAM: Final = b"text/event-stream"
# Answers of these types are JSON or nothing: a page of HTML is some proxy's.
_NOT_FILES: Final = (_JSON, b"text/html")


def left_out_line(names: tuple[str, ...]) -> bytes:
    """The header that tells a client what of its request no engine can do."""
    said = ", ".join(dict.fromkeys(printable(name) for name in names))
    return b"x-llm-gateway-left-out: %b\r\n" % said.encode("ascii", "replace")


class Phase(Enum):
    """Where a request is."""

    QUEUED = "queued"
    CONNECTING = "connecting"
    WAITING = "waiting"  # the engine has it, the client has nothing yet
    RELAYING = "relaying"  # the client has the first bytes: no other engine can take over, unless the text so far can be continued
    OVER = "over"


_QUEUED: Final = Phase.QUEUED
_CONNECTING: Final = Phase.CONNECTING
_WAITING: Final = Phase.WAITING
_RELAYING: Final = Phase.RELAYING
_OVER: Final = Phase.OVER
_NOBODY: Final[frozenset[Engine]] = frozenset()


class Client(Protocol):
    """The client's side of an exchange."""

    transport: Any
    http11: bool
    keep_alive: bool
    writing_paused: bool

    def exchange_over(self) -> None:
        """The reply is out."""

    def abort(self) -> None:
        """Break the connection: the only honest end of a reply that cannot be finished."""


class Exchange:
    """One request and its reply."""

    # What a request begins with; an instance holds what has become of it. (Assigning all of it would cost every request some microseconds.)
    phase: Phase
    model = ""  # the model that serves it
    asked_model = ""  # the name that the client used
    stream = False
    rank = 1
    cost = 0.0
    prompt_tokens = 0  # estimated
    dispatcher: Dispatcher | None = None
    fallbacks: tuple[str, ...] = ()
    engine: Engine | None = None
    tried: frozenset[Engine]
    attempts = 0
    promoted = False
    queued = False
    engine_at = 0.0
    queued_s = 0.0
    probed_at = 0.0
    sent_at = 0.0
    first_byte_at = 0.0
    last_byte_at = 0.0
    comment_at = 0.0
    reply_at = 0.0
    engine_name = ""
    events = 0
    head_sent = False
    status = 0
    reason = ""
    tail = b""
    usage: tuple[int, int] | None = None
    last_error: EngineError | ApiError | None = None
    ticket: Ticket | None = None
    span: Span | None = None
    translation: Translation | None = None
    transcript: Transcript | None = None
    gaps: Histogram | None = None
    _engine_translation: Translation | None = None
    _connection: EngineConnection | None = None
    _task: asyncio.Task[None] | None = None
    _pieces: list[bytes] | None = None
    _size = 0
    _chunked = False
    _last_newline = False
    _reply_type: bytes

    asked: Asked
    content: Raw  # the prompt as the client wrote it
    form = b""  # the Content-Type of a form, with its boundary
    more_lines = b""  # header lines of any reply
    _engine_body = b""  # in OpenAI's words, with the model's real name

    def __init__(self, gateway: Gateway, client: Client, head: Head, body: bytes, caller: Caller) -> None:
        self.phase = _QUEUED
        self.tried = _NOBODY
        self._reply_type = _JSON
        self.gateway = gateway
        self.client = client
        self._transport = client.transport
        self._outbox = gateway.outbox
        self.head = head
        self.body = body
        self.caller = caller
        self.path = head.path
        self.request_id = head.request_id or gateway.new_request_id()
        self.started_at = monotonic()

    # --- what policies and queues look at

    @property
    def prefix(self) -> Prefix:
        """See routing.Request."""
        content = self.content
        return content if len(content) <= PREFIX_BYTES else memoryview(content)[:PREFIX_BYTES]

    @property
    def session(self) -> bytes | None:
        """See routing.Request."""
        return self.head.session or self.asked.user_bytes()

    @property
    def tenant(self) -> str:
        """See fair_queue.Entry."""
        return self.caller.tenant

    @property
    def weight(self) -> float:
        """See fair_queue.Entry."""
        return self.caller.key.weight

    # --- towards an engine

    def begin(self) -> None:
        """Start. Whatever happens, the client gets an answer or is gone."""
        gateway = self.gateway
        try:
            body = self.body
            opener = tables.CLIENTS.get(self.path)
            if opener is not None:
                self.translation = translation = opener(self.path, body)
                if translation is not None:
                    self.path, body = translation.path, translation.body
                    if translation.left_out:
                        self.more_lines = left_out_line(translation.left_out)
                    if translation.request_id_header:
                        self.more_lines += b"%b: %b\r\n" % (translation.request_id_header, self.request_id)
            if self.head.origin is not None:
                self.more_lines += gateway.cors.lines(self.head.origin)
            if self.head.form and self.path in tables.FORMS:
                self.form = self.head.form
                self.asked = asked = multipart.read(self.form, body)
            else:
                self.asked = asked = openai.read(body)
            self.stream = asked.stream is True
            named = self.head.named_model.decode("utf-8", "replace")
            self.asked_model = asked_model = asked.model or named or gateway.default_model()
            dispatcher = gateway.dispatcher(asked_model, self.caller)
            self.model = model = dispatcher.model
            self._engine_body = body if model == asked.model else self._with_model(body, model)
            self.content = content = openai.content(asked)
            # A file's size says nothing of tokens.
            self.prompt_tokens = 1 if self.form else (len(content) or len(body)) // BYTES_PER_TOKEN + 1
            if self.head.priority is not None or gateway.has_classes:
                self.rank = gateway.rank_of(self.caller.key, self.head.priority)
            self.cost = float(self.prompt_tokens)
            gateway.active.add(self)
            if gateway.tracer is not None:
                self.span = gateway.tracer.begin(self.head.traceparent)
            subjects = gateway.limited(self.caller, dispatcher)
            if subjects is not None:
                answer = openai.answer_tokens(asked, gateway.settings.limit_reserve_tokens)
                reserved = float(self.prompt_tokens + answer)
                if gateway.remote_limits is not None:
                    gateway.run(self._admit_remotely(subjects, reserved, dispatcher))
                    return
                self.ticket = gateway.limiter.admit(subjects, reserved)
            self._dispatch(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def _with_model(self, body: bytes, model: str) -> bytes:
        return multipart.with_model(self.form, body, model) if self.form else openai.with_model(body, model)

    async def _admit_remotely(self, subjects: list[Subject], reserved: float, dispatcher: Dispatcher) -> None:
        """Never cancelled: what Redis has counted must be given back, even if the client has left meanwhile."""
        try:
            ticket = await self.gateway.admit_remotely(subjects, reserved, self.request_id)
            if self.phase is _OVER:
                ticket.settle(0, 0)
                return
            self.ticket = ticket
            self._dispatch(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def _dispatch(self, dispatcher: Dispatcher) -> None:
        """Ask for an engine; of a fallback's, when the model's own cannot take it. Raises ApiError."""
        gateway = self.gateway
        self.dispatcher = dispatcher
        if not gateway.catalogue.models:
            engine = dispatcher.ask(self)
        else:
            self.fallbacks = tuple(gateway.catalogue.config(self.model).fallbacks)
            try:
                engine = dispatcher.ask(self, hold=not self.fallbacks)
            except ApiError as error:
                engine = self._fall_back()
                if engine is None and self.dispatcher is dispatcher:
                    raise error
        if engine is not None:
            self.granted(engine)
        else:
            self.queued = True

    def _fall_back(self) -> Engine | None:
        """An engine of the first fallback that has one; None, with another dispatcher: queued there; None with the same: there is no help."""
        gateway = self.gateway
        while self.fallbacks:
            model, *rest = self.fallbacks
            self.fallbacks = tuple(rest)
            dispatcher = gateway.dispatchers.get(model)
            if dispatcher is None:
                continue
            try:
                engine = dispatcher.ask(self, hold=not rest)
            except ApiError:
                continue
            gateway.metrics.fallbacks.add(self.model, model)
            self.dispatcher = dispatcher
            self.model = model
            self._engine_body = self._with_model(self._engine_body, model)
            return engine
        return None

    def granted(self, engine: Engine) -> None:
        """An engine was chosen and counts this request already."""
        self.engine = engine
        self.engine_name = engine.name
        self.attempts += 1
        self.engine_at = now = monotonic()
        if self.queued:
            self.queued_s = now - self.started_at
        connection = engine.take()
        if connection is None:
            self.phase = _CONNECTING
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
        path, body = self.path, self._engine_body
        opener = tables.ENGINES.get(engine.kind)
        self._engine_translation = None
        if opener is not None:
            try:
                self._engine_translation = translation = opener(path, body)
            except ApiError as error:
                engine.keep(connection)
                self.refuse(error)
                return
            if translation is not None:
                path, body = translation.path, translation.body
        traceparent = self.span.header() if self.span is not None else self.head.traceparent
        self.phase = _WAITING
        self._connection = connection
        self._pieces = None
        self._size = 0
        if len(body) < APART_BYTES:
            connection.send(self, engine.frame(path, self.request_id, traceparent, body, form=self.form))
        else:
            connection.send(
                self, engine.frame(path, self.request_id, traceparent, body, apart=True, form=self.form), body
            )
        self.sent_at = monotonic()

    # --- the engine's reply

    def reply_head(self, connection: EngineConnection) -> None:
        """See Receiver."""
        self._reply_type = connection.content_type

    def reply_data(self, data: bytes) -> None:
        """See Receiver."""
        if self.phase is _RELAYING:
            now = monotonic()
            if self.gaps is not None:
                self.gaps.observe(now - self.last_byte_at)
            self.last_byte_at = now
            self._relay(data)
            return
        connection = self._connection
        if connection is None:
            return
        if self._reply_type.startswith(_EVENT_STREAM) and connection.status == 200:
            if not data.startswith(_SSE_STARTS):
                self._drop_connection()
                self._engine_failed(EngineError("garbage", "the engine's stream is no event stream"))
                return
            self._begin_relay(data)
            return
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(data)
        self._size += len(data)
        translated = self.translation is not None or self._engine_translation is not None
        if self._size > (TRANSLATED_REPLY_BYTES if translated else BUFFERED_REPLY_BYTES):
            if connection.status != 200 or translated:
                self._drop_connection()
                self._engine_failed(EngineError("garbage", "the engine's reply is endless"))
                return
            pieces, self._pieces = self._pieces, None
            self._begin_relay(b"".join(pieces))

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        """See Receiver."""
        if (
            self._chunked
            and self.phase is _RELAYING
            and self._engine_translation is None
            and self.translation is None
            and self.transcript is None
        ):
            # The engine's framing is the client's.
            self._write(chunks)
            now = monotonic()
            if self.gaps is not None:
                self.gaps.observe(now - self.last_byte_at)
            self.last_byte_at = now
            self._note(body)
        else:
            self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        """See Receiver."""
        self._reply_type = connection.content_type
        translated = self.translation is not None or self._engine_translation is not None
        if self._reply_type.startswith(_EVENT_STREAM) or (len(body) > BUFFERED_REPLY_BYTES and not translated):
            self.reply_data(body)
            if self._connection is connection:
                self.reply_ended()
            return
        self._connection = None
        self.reply_at = monotonic()
        self._size = len(body)
        self._good_reply(body)

    def reply_ended(self) -> None:
        """See Receiver."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        self.reply_at = monotonic()
        if self.phase is not _RELAYING:
            self._whole_reply(connection.status)
            return
        rest = b""
        try:
            if self._engine_translation is not None:
                rest = self._engine_translation.end()
                self._note(rest)
            if self.transcript is not None:
                rest = self.transcript.end(rest)
            if self.translation is not None:
                rest = (self.translation.piece(rest) if rest else b"") + self.translation.end()
        except UntranslatableReply:
            self._engine_failed(EngineError("garbage", "the engine's stream makes no sense"))
            return
        except ApiError as error:
            self._error_in_reply(error)
            return
        shared = self.gateway.shared
        if shared:
            self._answered(self.tail)
        if self._chunked:
            self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest) if rest else b"0\r\n\r\n")
        elif rest:
            self._write(rest)
        if not shared:
            self._answered(self.tail)
        self._over(200, "")

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
            self.phase = _CONNECTING
            self._task = asyncio.get_running_loop().create_task(self._connect(self.engine))
            return
        self._engine_failed(error)

    def _whole_reply(self, status: int) -> None:
        pieces, self._pieces = self._pieces, None
        body = b"" if pieces is None else pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if 200 <= status < 300:
            self._good_reply(body)
            return
        if self.translation is not None and self._otherwise(self.translation, status, body):
            return
        error = openai.from_engine(status, body)
        if status in _RETRIED_STATUSES:
            self._engine_failed(EngineError("status", f"the engine answered with status {status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def _otherwise(self, translation: Translation, status: int, body: bytes) -> bool:
        """An engine refused a request of ours: ask it in other words, or answer without it. True when either was done."""
        words = translation.again(status, body)
        engine = self.engine
        if words is not None and engine is not None:
            self._engine_body = words if self.model == self.asked.model else openai.with_model(words, self.model)
            self.phase = _CONNECTING
            self._task = asyncio.get_running_loop().create_task(self._connect(engine))
            return True
        answer = translation.instead(status)
        if answer is None:
            return False
        self._engine_answered()
        self.settle()
        self._reply(200, b"content-type: application/json\r\n", answer)
        self._over(200, "")
        return True

    def _error_in_reply(self, error: ApiError) -> None:
        """An engine's reply began as a good one, and says now that it is none: its words are the client's, and nobody else is asked for the same."""
        if error.status in _RETRIED_STATUSES and not self.head_sent:
            self._drop_connection()
            self._engine_failed(EngineError("status", f"the engine's stream is an error: {error.status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def _good_reply(self, body: bytes) -> None:
        try:
            if self._engine_translation is not None:
                body = self._engine_translation.whole(body)
            elif self.translation is None and self._reply_type and not self._reply_type.startswith(_NOT_FILES):
                self._file(body)
                return
            if not body or (body[-1] not in _ENDS_OF_JSON and not body.rstrip().endswith((b"}", b"]"))):
                raise UntranslatableReply("no JSON")
            answer = body if self.translation is None else self._said_back(self.translation, body)
        except UntranslatableReply:
            self._engine_failed(EngineError("garbage", "the engine's reply is not JSON, or makes no sense"))
            return
        except ApiError as error:
            self._error_in_reply(error)
            return
        self.first_byte_at = self.last_byte_at = self.reply_at
        shared = self.gateway.shared
        if shared:
            self._answered(body)
        if self.head_sent:
            if self.translation is None:
                answer = b"data: %b\n\ndata: [DONE]\n\n" % answer.strip()
            self._event(answer, last=True)
        elif self.stream and self.translation is not None:
            self._write(self._stream_head(self.translation.content_type))
            self._event(answer, last=True)
        else:
            self._reply(200, b"content-type: application/json\r\n", answer)
        if not shared:
            self._answered(body)
        self._over(200, "")

    def _said_back(self, translation: Translation, body: bytes) -> bytes:
        """A whole answer in the client's words: as the stream that was asked for, where an engine knows no streams."""
        return translation.piece(chat.as_stream(body)) + translation.end() if self.stream else translation.whole(body)

    def _file(self, body: bytes) -> None:
        """An answer that is no JSON: speech, pictures, vectors as bytes, subtitles."""
        self.first_byte_at = self.last_byte_at = self.reply_at
        self._answered(b"")
        self._reply(200, b"content-type: %b\r\n" % self._reply_type, body)
        self._over(200, "")

    def _answered(self, body: bytes) -> None:
        """Note what the whole answer cost, and give back what it held: before the client has it where it may ask another process next, else after."""
        if self.usage is None:
            self.usage = openai.usage_in(body[-TAIL_BYTES:]) or openai.usage_in(body)
        self._engine_answered()
        self.settle()

    def settle(self) -> None:
        """Give back what was reserved for the request, as far as it was not used."""
        ticket = self.ticket
        if ticket is not None and not ticket.settled:
            prompt, completion = self.usage or (None, self.events)
            # A request that an engine has begun has used its prompt, whoever broke off; one that none has taken has used nothing.
            begun = self.first_byte_at > 0 or (self.reason == "client_gone" and self.sent_at > 0)
            ticket.settle(prompt if prompt is not None else self.prompt_tokens if begun else 0, completion)

    def _begin_relay(self, data: bytes) -> None:
        self.phase = _RELAYING
        self.first_byte_at = self.last_byte_at = now = monotonic()
        gateway = self.gateway
        if self.stream:
            self.gaps = gateway.metrics.token_gap.of(self.model)
            if gateway.settings.resume and self.transcript is None:
                self.transcript = gateway.transcript(self)
        if self.engine is not None:
            self.engine.heard_at = now
        if not self.head_sent:
            content_type = self._reply_type if self.translation is None else self.translation.content_type
            self._relay(data, self._stream_head(content_type))
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
        limits = self.ticket.header_lines if self.ticket is not None else b""
        return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\nx-request-id: %b\r\n%b%b%b%b\r\n" % (
            content_type,
            self.request_id,
            limits,
            self.more_lines,
            framing,
            b"" if self.client.keep_alive else b"connection: close\r\n",
        )

    def _relay(self, data: bytes, prefix: bytes = b"") -> None:
        if self._engine_translation is not None or self.translation is not None or self.transcript is not None:
            self._relay_translated(data, prefix)
            return
        self._note(data)
        self._write(b"%b%x\r\n%b\r\n" % (prefix, len(data), data) if self._chunked else prefix + data)

    def _note(self, data: bytes) -> None:
        """Count a stream's events, and keep what may tell the usage. `data` is in OpenAI's words."""
        # A stream has line ends of one kind.
        events = data.count(b"\n\n") or data.count(b"\r\n\r\n")
        if self._last_newline and data.startswith(b"\n"):
            events += 1
        self.events += events
        self._last_newline = data.endswith(b"\n")
        if b'"usage"' in data:
            self.usage = openai.usage_in(data) or self.usage
        self.tail = data

    def _relay_translated(self, data: bytes, prefix: bytes) -> None:
        try:
            if self._engine_translation is not None:
                data = self._engine_translation.piece(data)
            if data:
                self._note(data)
                if self.transcript is not None:
                    data = self.transcript.piece(data)
                if self.translation is not None:
                    data = self.translation.piece(data)
        except UntranslatableReply:
            self._drop_connection()
            if prefix:
                self.phase = _WAITING
                self.head_sent = self._chunked = False
            self._engine_failed(EngineError("garbage", "the engine's stream makes no sense"))
            return
        except ApiError as error:
            if prefix:
                self.phase = _WAITING
                self.head_sent = self._chunked = False
            self._error_in_reply(error)
            return
        if data and self._chunked:
            prefix += b"%x\r\n%b\r\n" % (len(data), data)
        elif data:
            prefix += data
        if prefix:
            self._write(prefix)

    # --- when an engine fails

    def _engine_failed(self, error: EngineError, reply: ApiError | None = None) -> None:
        engine, self.engine = self.engine, None
        dispatcher = self.dispatcher
        if engine is None or dispatcher is None:
            return
        gateway = self.gateway
        self.last_error = reply or error
        self.tried = self.tried | {engine}
        if error.kind != "first_byte_timeout" or engine.heard_at < self.engine_at:
            # An engine that answered others meanwhile is slow, not stuck.
            gateway.engine_failed(engine, error)
        if self.phase is _RELAYING and not (self.transcript is not None and self._resume()):
            gateway.engine_released(engine)
            self._cut(error)
            return
        another = None
        if self.attempts <= gateway.settings.retries and gateway.may_retry():
            another = dispatcher.ask_another(self)
            if another is None and self.fallbacks:
                another = self._fall_back()
                if another is None and self.dispatcher is not dispatcher:
                    self.phase = _QUEUED
                    gateway.engine_released(engine)
                    return
        gateway.engine_released(engine)
        if another is not None:
            gateway.metrics.failovers.add(error.kind)
            self.granted(another)
        elif self.phase is _RELAYING:
            self._cut(error)
        else:
            self.refuse(self._verdict(error))

    def _resume(self) -> bool:
        """Turn the request into one that goes on where the text broke off. True when that can be asked."""
        transcript = self.transcript
        body = None if transcript is None else transcript.continued(self._engine_body)
        if body is None:
            return False
        self._engine_body = body
        self.gateway.metrics.resumes.add(self.model)
        return True

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
        if self.head_sent and (self.stream or self._reply_type.startswith(_EVENT_STREAM)):
            broken = ApiError(502, "The engine's stream broke off.", code="engine_error", error_type="server_error")
            # What the client has of an event ends here, so that ours is read by itself.
            apart = b"\n\n" if self.translation is None and not self.tail.endswith((b"\n\n", b"\r\n\r\n")) else b""
            self._event(apart + self._error_event(broken, done=False))
        self._finish(200, error.kind)
        self.client.abort()

    # --- towards the client

    def _write(self, data: bytes) -> None:
        self._outbox.put(self._transport, data)

    def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        if self.phase is _OVER:
            return
        self._leave_engine()
        self.settle()
        if self.head_sent:
            self._event(self._error_event(error), last=True)
        else:
            body = (
                self.translation.error(error)
                if self.translation is not None
                else tables.error_body(self.head.path, error)
            )
            lines = error.header_lines()
            if self.ticket is not None and not error.headers:
                lines += self.ticket.header_lines
            self._reply(error.status, b"content-type: application/json\r\n" + lines, body, limits=False)
        self._over(error.status, error.reason)

    def _error_event(self, error: ApiError, *, done: bool = True) -> bytes:
        if self.translation is not None:
            return self.translation.error_event(error)
        return b"data: %b\n\n%b" % (error.body(), b"data: [DONE]\n\n" if done else b"")

    def _reply(self, status: int, headers: bytes, body: bytes, *, limits: bool = True) -> None:
        if limits and self.ticket is not None:
            headers += self.ticket.header_lines
        if self.more_lines:
            headers += self.more_lines
        if not self.client.keep_alive:
            headers += b"connection: close\r\n"
        if status == 200:
            self._write(
                b"".join(
                    (
                        b"HTTP/1.1 200 OK\r\n",
                        headers,
                        b"x-request-id: ",
                        self.request_id,
                        b"\r\ncontent-length: %d\r\n\r\n" % len(body),
                        body,
                    )
                )
            )
            return
        self._write(
            b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (status, reason_phrase(status).encode(), headers, self.request_id, len(body), body)
        )

    def client_gone(self) -> None:
        """The client left: the engine must stop at once."""
        if self.phase is _OVER:
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
        elif self.dispatcher is not None and self.phase is _QUEUED:
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

    def _over(self, status: int, reason: str) -> None:
        self._finish(status, reason)
        self.client.exchange_over()

    def _finish(self, status: int, reason: str) -> None:
        self.phase = _OVER
        self.status = status
        self.reason = reason
        self.body = self._engine_body = b""
        self.gateway.active.discard(self)
        self.gateway.finished(self)

    # --- the clock

    def tick(self, now: float) -> None:
        """Called now and then: enforce what is a matter of time."""
        settings = self.gateway.settings
        if now - self.started_at > settings.request_timeout:
            self._timed_out("request_timeout")
        elif self.phase is _QUEUED:
            self._tick_queued(now)
        elif self.phase is _RELAYING:
            if settings.stall_timeout and now - self.last_byte_at > settings.stall_timeout:
                self._timed_out("stalled")
            elif self.stream:
                self._keep_alive(now, settings.sse_comment_interval)
        elif self.stream:
            if settings.first_byte_timeout and now - self.engine_at > settings.first_byte_timeout:
                self._timed_out("first_byte_timeout")
            else:
                self._keep_alive(now, settings.sse_comment_interval)
        elif (
            settings.first_byte_timeout
            and self.phase is _WAITING
            and now - max(self.engine_at, self.probed_at) > settings.first_byte_timeout
            and self._task is None
            and self.engine is not None
        ):
            # A plain reply's first byte comes with its end: only a probe can tell an engine that works from one that is stuck.
            self.probed_at = now
            self._task = asyncio.get_running_loop().create_task(self._probe(self.engine))

    async def _probe(self, engine: Engine) -> None:
        settings = self.gateway.settings
        try:
            await ask_models(engine, max(1.0, min(5.0, settings.first_byte_timeout)))
        except EngineError:
            self._task = None
            if self.engine is engine and self.phase is _WAITING:
                self._timed_out("first_byte_timeout")
        else:
            self._task = None

    def _tick_queued(self, now: float) -> None:
        dispatcher = self.dispatcher
        if dispatcher is None:
            return
        waited_s = now - self.started_at
        ready = bool(dispatcher.ready)
        timeout_s = dispatcher.queue_timeout_s if ready else max(dispatcher.hold_timeout_s, dispatcher.queue_timeout_s)
        if waited_s > timeout_s:
            self.refuse(
                unavailable("No engine had room in time. Try again later.", code="queue_timeout", retry_after_s=5)
                if ready
                else dispatcher.nobody_ready()
            )
            return
        if not self.promoted and waited_s > timeout_s / 2:
            self.promoted = True
            dispatcher.waiting.promote(self)
        if self.stream:
            self._keep_alive(now, self.gateway.settings.sse_comment_interval)

    def _keep_alive(self, now: float, interval_s: float) -> None:
        since = max(self.last_byte_at, self.comment_at, self.started_at)
        if not interval_s or now - since < interval_s or self.client.writing_paused:
            return
        translation = self.translation
        comment = b": keep-alive\n\n" if translation is None else translation.comment
        if not comment:
            return
        if not self.head_sent:
            content_type = b"text/event-stream; charset=utf-8" if translation is None else translation.content_type
            self._write(self._stream_head(content_type))
        elif translation is None and self.phase is _RELAYING and not self.tail.endswith((b"\n\n", b"\r\n\r\n")):
            return  # in the middle of an event
        self.comment_at = now
        self._event(comment)

    def _event(self, event: bytes, *, last: bool = False) -> None:
        """Write one of our own events into a stream whose head is out."""
        end = b"0\r\n\r\n" if last else b""
        if self._chunked:
            self._write(b"%x\r\n%b\r\n%b" % (len(event), event, end) if event else end)
        else:
            self._write(event)

    def _timed_out(self, kind: str) -> None:
        self._drop_connection()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        error = EngineError(kind, "the engine took too long")
        if kind == "request_timeout" and self.phase is not _RELAYING:
            self.refuse(self._verdict(error))
        else:
            self._engine_failed(error)
