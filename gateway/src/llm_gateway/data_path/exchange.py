# SPDX-License-Identifier: Apache-2.0
"""One request on its way: admitted, given an engine, relayed, over; or failed over, refused, abandoned.

An exchange never awaits on the hot path: the client's connection starts it, the engine's connection drives it by callbacks. Here is only the
order of things. What is decided is elsewhere: admission, fleet, routing, protocols, deadlines; what the client gets is made by `Reply`, what
comes from an engine goes through `Relay`.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from llm_gateway.data_path.deadlines import Due, Phase, comment_due, due, due_in_queue
from llm_gateway.data_path.relay import Relay
from llm_gateway.data_path.reply import EVENT_STREAM, Client, Reply
from llm_gateway.data_path.usage import asking
from llm_gateway.engines.probe import answers
from llm_gateway.engines.routing import ENDS, Prefix
from llm_gateway.errors import ApiError, EngineError, printable, unavailable
from llm_gateway.protocols import Translation, UntranslatableReply, chat, multipart, openai, tables
from llm_gateway.telemetry.ended import EndedRequest, Times

if TYPE_CHECKING:
    from llm_gateway.callers.caller import Caller
    from llm_gateway.callers.limits import Subject, Ticket
    from llm_gateway.data_path.services import Services
    from llm_gateway.engines.connection import EngineConnection
    from llm_gateway.engines.dispatch import Dispatcher
    from llm_gateway.engines.engine import Engine
    from llm_gateway.http.head import Head
    from llm_gateway.http.origin import Origin
    from llm_gateway.protocols.asked import Asked
    from llm_gateway.telemetry.span import Span

# A plain reply up to this size is sent once it is whole, so that a cut in its middle can still fail over.
BUFFERED_REPLY_BYTES: Final = 4 << 20
# What is translated must be whole; pictures and log probabilities make some megabytes.
TRANSLATED_REPLY_BYTES: Final = 64 << 20
# Usage stands at a reply's end.
TAIL_BYTES: Final = 2048
# A policy looks at this much of a prompt at most.
PREFIX_BYTES: Final = ENDS[-1]
BYTES_PER_TOKEN: Final = 4
# An engine's server answers a probe at once, however long its queue is; busy machines may take a little.
PROBE_TIMEOUT_S: Final = 5.0
# Copying a body of this size costs more than handing the kernel two pieces.
APART_BYTES: Final = 16 << 10
_REFUSALS: Final = frozenset({400, 422})
_RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
# What no event stream begins with, though it says that it is one: a page or a document of a proxy. (Any other line is a field, known or not.)
_NO_EVENTS: Final = (b"<", b"{", b"[")
_ENDS_OF_JSON: Final = (125, 93)  # a brace, a bracket
_JSON: Final = b"application/json"
# Answers of these types are JSON or nothing: a page of HTML is some proxy's.
_NOT_FILES: Final = (_JSON, b"text/html")

_QUEUED: Final = Phase.QUEUED
_CONNECTING: Final = Phase.CONNECTING
_WAITING: Final = Phase.WAITING
_RELAYING: Final = Phase.RELAYING
_OVER: Final = Phase.OVER
_NO_ENGINES: Final[frozenset[Engine]] = frozenset()


def own_lines(translation: Translation, request_id: bytes) -> bytes:
    """Header lines of every reply to this request: its id by the client's name for it, and what of the request no engine can do."""
    lines = b""
    if translation.left_out:
        said = ", ".join(dict.fromkeys(printable(name) for name in translation.left_out))
        lines = b"x-llm-gateway-left-out: %b\r\n" % said.encode("ascii", "replace")
    if translation.request_id_header:
        lines += b"%b: %b\r\n" % (translation.request_id_header, request_id)
    return lines


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
    engine_name = ""
    reason = ""
    usage: tuple[int, int] | None = None
    last_error: EngineError | ApiError | None = None
    ticket: Ticket | None = None
    span: Span | None = None
    translation: Translation | None = None
    relay: Relay | None = None
    _engine_translation: Translation | None = None
    _connection: EngineConnection | None = None
    _task: asyncio.Task[None] | None = None
    _pieces: list[bytes] | None = None
    _size = 0
    _reply_type: bytes

    asked: Asked
    content: Raw  # the prompt as the client wrote it
    form = b""  # the Content-Type of a form, with its boundary
    _engine_body = b""  # in OpenAI's words, with the model's real name
    _asked_usage = False  # by the gateway, not by the client

    def __init__(
        self, services: Services, client: Client, head: Head, body: bytes, caller: Caller, origin: Origin
    ) -> None:
        self.phase = _QUEUED
        self.tried = _NO_ENGINES
        self._reply_type = _JSON
        self.services = services
        self.head = head
        self.body = body
        self.caller = caller
        self.origin = origin
        self.path = head.path
        self.request_id = request_id = head.request_id or services.ids.new()
        self.client = client
        self.reply = Reply(client, services.outbox, request_id)
        self.times = Times(monotonic())

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
        services = self.services
        try:
            body = self.body
            opener = tables.CLIENTS.get(self.path)
            if opener is not None:
                translation = opener(self.path, body)
                self.translation = self.reply.translation = translation
                if translation is not None:
                    self.path, body = translation.path, translation.body
                    self.reply.more_lines = own_lines(translation, self.request_id)
            if self.head.origin is not None:
                self.reply.more_lines += services.cors.lines(self.head.origin)
            if self.head.form and self.path in tables.FORMS:
                self.form = self.head.form
                self.asked = asked = multipart.read(self.form, body)
            else:
                self.asked = asked = openai.read(body)
            self.stream = asked.stream is True
            self.asked_model = asked_model = asked.model or self._unnamed_model()
            dispatcher = services.fleet.dispatcher(asked_model, self.caller)
            self.model = model = dispatcher.model
            self._engine_body = body if model == asked.model else self._with_model(body, model)
            self.content = content = openai.content(asked)
            # A file's size says nothing of tokens.
            self.prompt_tokens = 1 if self.form else (len(content) or len(body)) // BYTES_PER_TOKEN + 1
            self.cost = float(self.prompt_tokens)
            admission = services.admission
            if self.head.priority is not None or admission.has_classes:
                self.rank = admission.rank(self.caller.key, self.head.priority)
            services.active.add(self)
            if services.tracer is not None:
                self.span = services.tracer.begin(self.head.traceparent)
            subjects = admission.limited(self.caller, dispatcher.subjects)
            if subjects is not None:
                answer = openai.answer_tokens(asked, services.settings.limit_reserve_tokens)
                reserved = float(self.prompt_tokens + answer)
                if admission.remote is not None:
                    services.run(self._admit_remotely(subjects, reserved, dispatcher))
                    return
                self._admitted(admission.admit(subjects, reserved))
            self._dispatch(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def _unnamed_model(self) -> str:
        """The model of a body that names none: the one in the path, or the default. Raises ApiError 400."""
        return self.head.named_model.decode("utf-8", "replace") or self.services.fleet.default_model()

    def _with_model(self, body: bytes, model: str) -> bytes:
        return multipart.with_model(self.form, body, model) if self.form else openai.with_model(body, model)

    async def _admit_remotely(self, subjects: list[Subject], reserved: float, dispatcher: Dispatcher) -> None:
        """Never cancelled: what Redis has counted must be given back, even if the client has left meanwhile."""
        try:
            ticket = await self.services.admission.admit_remotely(subjects, reserved, self.request_id)
            if self.phase is _OVER:
                ticket.settle(0, 0)
                return
            self._admitted(ticket)
            self._dispatch(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def _admitted(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.reply.limit_lines = ticket.header_lines

    def _dispatch(self, dispatcher: Dispatcher) -> None:
        """Ask for an engine; of a fallback's, when the model's own cannot take it. Raises ApiError."""
        self.dispatcher = dispatcher
        self.fallbacks = fallbacks = self.services.fleet.fallbacks(self.model)
        try:
            engine = dispatcher.ask(self, hold=not fallbacks)
        except ApiError:
            if not fallbacks:
                raise
            engine = self._fall_back()
            if engine is None and self.dispatcher is dispatcher:
                raise
        if engine is not None:
            self.granted(engine)
        else:
            self.queued = True

    def _fall_back(self) -> Engine | None:
        """An engine of the first fallback model that has one.

        None: there is none at once. If `dispatcher` is another one now, the request waits in its queue; else no fallback can take it."""
        fleet = self.services.fleet
        while self.fallbacks:
            model, *rest = self.fallbacks
            self.fallbacks = tuple(rest)
            dispatcher = fleet.dispatchers.get(model)
            if dispatcher is None:
                continue
            try:
                engine = dispatcher.ask(self, hold=not rest)
            except ApiError:
                continue
            self.services.metrics.fallbacks.add(self.model, model)
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
        self.times.engine_at = monotonic()
        connection = engine.take()
        if connection is None:
            self._connect(engine)
        else:
            self._send(engine, connection)

    def _connect(self, engine: Engine) -> None:
        self.phase = _CONNECTING
        self._task = asyncio.get_running_loop().create_task(self._connect_and_send(engine))

    async def _connect_and_send(self, engine: Engine) -> None:
        try:
            connection = await engine.connect(self.services.settings.connect_timeout)
        except EngineError as error:
            self._task = None
            self._engine_failed(error)
            return
        self._task = None
        self._send(engine, connection)

    def _send(self, engine: Engine, connection: EngineConnection) -> None:
        path, body = self.path, self._engine_body
        if self.stream and engine.counts_streams:
            counted = asking(path, body)
            if counted is not None:
                self._asked_usage = True
                body = counted
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
        if self.relay is not None:
            self.relay.continued(self._engine_translation)
        traceparent = self.span.header() if self.span is not None else self.head.traceparent
        self.phase = _WAITING
        self.reply.engine_lines = engine.name_line if self.services.settings.engine_header else b""
        self._connection = connection
        self._pieces = None
        self._size = 0
        lines = self.origin.lines
        if len(body) < APART_BYTES:
            connection.send(self, engine.frame(path, self.request_id, traceparent, lines, body, form=self.form))
        else:
            head = engine.frame(path, self.request_id, traceparent, lines, body, apart=True, form=self.form)
            connection.send(self, head, body)
        self.times.sent_at = monotonic()

    # --- the engine's reply

    def reply_head(self, connection: EngineConnection) -> None:
        """See Receiver."""
        self._reply_type = connection.content_type
        if connection.lines:
            self.reply.engine_lines += connection.lines

    def reply_data(self, data: bytes) -> None:
        """See Receiver."""
        if self.phase is _RELAYING:
            self._relay(data)
            return
        connection = self._connection
        if connection is None:
            return
        if self._reply_type.startswith(EVENT_STREAM) and connection.status == 200:
            if data.startswith(_NO_EVENTS):
                self._drop_connection()
                self._engine_failed(EngineError("garbage", "the engine's stream is no event stream"))
            else:
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
        relay = self.relay
        if (
            relay is not None
            and relay.plain
            and self.reply.chunked
            and self.phase is _RELAYING
            and relay.as_it_came(body)
        ):
            # The engine's framing is the client's.
            self.reply.write(chunks)
            self._heard(relay)
        else:
            self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        """See Receiver."""
        self._reply_type = connection.content_type
        if connection.lines:
            self.reply.engine_lines += connection.lines
        translated = self.translation is not None or self._engine_translation is not None
        if self._reply_type.startswith(EVENT_STREAM) or (len(body) > BUFFERED_REPLY_BYTES and not translated):
            self.reply_data(body)
            if self._connection is connection:
                self.reply_ended()
            return
        self._connection = None
        self.times.reply_at = monotonic()
        self._size = len(body)
        self._good_reply(body)

    def reply_ended(self) -> None:
        """See Receiver."""
        connection = self._connection
        if connection is None:
            return
        self._connection = None
        self.times.reply_at = monotonic()
        relay = self.relay
        if relay is None or self.phase is not _RELAYING:
            self._gathered_reply(connection.status, connection.retry_after)
            return
        try:
            rest = relay.end()
        except UntranslatableReply:
            self._engine_failed(EngineError("garbage", "the engine's stream makes no sense"))
            return
        except ApiError as error:
            self._error_in_reply(error)
            return
        # What the request held is given back before the client has its end, where it may ask another process next; else after.
        shared = self.services.shared
        if shared:
            self._answered(relay.tail)
        self.reply.end(rest)
        if not shared:
            self._answered(relay.tail)
        self._over(200, "")

    def reply_failed(self, error: EngineError) -> None:
        """See Receiver."""
        connection = self._connection
        self._connection = None
        engine = self.engine
        if (
            connection is not None
            and connection.reused
            and error.kind == "reset"
            and not self._size
            and engine is not None
        ):
            # The engine closed an idle connection just as it was taken: not its fault, and nothing was asked yet.
            engine.close_idle()
            self._connect(engine)
            return
        self._engine_failed(error)

    def _gathered_reply(self, status: int, retry_after: bytes) -> None:
        pieces, self._pieces = self._pieces, None
        body = b"" if pieces is None else pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if 200 <= status < 300:
            self._good_reply(body)
            return
        engine = self.engine
        if engine is not None and status in _REFUSALS and b"stream_options" in body:
            engine.counts_streams = False  # it knows no usage in streams
            if self._asked_usage:
                self._asked_usage = False
                self._connect(engine)
                return
        if self.translation is not None and self._otherwise(self.translation, status, body):
            return
        error = openai.from_engine(status, body, retry_after)
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
            self._connect(engine)
            return True
        answer = translation.instead(status)
        if answer is None:
            return False
        self._engine_answered()
        self.settle()
        self.reply.whole(answer)
        self._over(200, "")
        return True

    def _error_in_reply(self, error: ApiError) -> None:
        """An engine's reply began as a good one, and is an error after all: the client gets the engine's words, and no other engine is asked for
        the same."""
        if error.status in _RETRIED_STATUSES and not self.reply.head_sent:
            self._drop_connection()
            self._engine_failed(EngineError("status", f"the engine's stream is an error: {error.status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def _good_reply(self, body: bytes) -> None:
        try:
            if self._engine_translation is not None:
                body = self._engine_translation.whole(body)
            elif self._is_file():
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
        times = self.times
        times.first_byte_at = times.last_byte_at = times.reply_at
        shared = self.services.shared
        if shared:
            self._answered(body)
        if self.stream and self.translation is not None and not self.reply.head_sent:
            self.reply.write(self.reply.begin(b""))
        self.reply.whole(answer)
        if not shared:
            self._answered(body)
        self._over(200, "")

    def _said_back(self, translation: Translation, body: bytes) -> bytes:
        """A whole answer in the client's words: as the stream that was asked for, where an engine knows no streams."""
        return translation.piece(chat.as_stream(body)) + translation.end() if self.stream else translation.whole(body)

    def _is_file(self) -> bool:
        """Whether the answer may be something else than JSON: not to a chat, not where it is translated, not within a stream."""
        kind = self._reply_type
        plain = self.translation is None and not self.reply.head_sent and self.path not in tables.TEXTS
        return plain and kind != b"" and not kind.startswith(_NOT_FILES)

    def _file(self, body: bytes) -> None:
        """An answer that is no JSON: speech, pictures, vectors as bytes, subtitles."""
        times = self.times
        times.first_byte_at = times.last_byte_at = times.reply_at
        self._answered(b"")
        self.reply.whole(body, self._reply_type)
        self._over(200, "")

    def _answered(self, body: bytes) -> None:
        """The answer is whole: note what it cost, and give back what it held."""
        usage = self.usage if self.relay is None else self.relay.usage
        self.usage = usage or openai.usage_in(body[-TAIL_BYTES:]) or openai.usage_in(body)
        self._engine_answered()
        self.settle()

    def settle(self) -> None:
        """Give back what was reserved for the request, as far as it was not used."""
        ticket = self.ticket
        if ticket is not None and not ticket.settled:
            prompt, completion = self._tokens()
            # A request that an engine has begun has used its prompt, whoever broke off; one that none has taken has used nothing.
            begun = self.times.first_byte_at > 0 or (self.reason == "client_gone" and self.times.sent_at > 0)
            ticket.settle(prompt if prompt is not None else self.prompt_tokens if begun else 0, completion or 0)

    def _tokens(self) -> tuple[int | None, int | None]:
        """Tokens in and out, as the engine told them, or a stream's events did; None: unknown."""
        usage, relay = self.usage, self.relay
        if relay is not None:
            usage = usage or relay.usage
            if usage is None:
                return None, relay.events or None
        return (None, None) if usage is None else usage

    def _begin_relay(self, data: bytes) -> None:
        reply = self.reply
        relay = self.relay
        if relay is None:
            relay = self._make_relay()
        else:
            self.phase = _RELAYING  # another engine goes on with what the client has got already
        try:
            data = relay.piece(data)
        except UntranslatableReply:
            self._drop_connection()
            self._engine_failed(EngineError("garbage", "the engine's stream makes no sense"))
            return
        except ApiError as error:
            self._error_in_reply(error)
            return
        self.relay = relay
        self.phase = _RELAYING
        times = self.times
        times.first_byte_at = times.last_byte_at = now = monotonic()
        if self.engine is not None:
            self.engine.heard_at = now
        reply.piece(data, b"" if reply.head_sent else reply.begin(self._reply_type))

    def _make_relay(self) -> Relay:
        transcript = None
        if self.stream and self.services.settings.resume:
            from llm_gateway.data_path.resume import transcript_of

            transcript = transcript_of(self.path, self._engine_body)
        relay = Relay(self._engine_translation, transcript, self.translation, hide_usage=self._asked_usage)
        if self.stream:
            relay.gaps = self.services.metrics.token_gap.of(self.model)
        return relay

    def _relay(self, data: bytes) -> None:
        relay = self.relay
        if relay is None:
            return
        self._heard(relay)
        try:
            data = relay.piece(data)
        except UntranslatableReply:
            self._drop_connection()
            self._engine_failed(EngineError("garbage", "the engine's stream makes no sense"))
            return
        except ApiError as error:
            self._error_in_reply(error)
            return
        self.reply.piece(data)

    def _heard(self, relay: Relay) -> None:
        now = monotonic()
        if relay.gaps is not None:
            relay.gaps.observe(now - self.times.last_byte_at)
        self.times.last_byte_at = now

    # --- when an engine fails

    def _engine_failed(self, error: EngineError, reply: ApiError | None = None) -> None:
        engine, self.engine = self.engine, None
        dispatcher = self.dispatcher
        if engine is None or dispatcher is None:
            return
        services = self.services
        fleet = services.fleet
        self.last_error = reply or error
        self.tried = self.tried | {engine}
        if error.kind != "request_timeout":  # a limit of ours is no fault of an engine's
            fleet.failed(engine, error)
        if self.phase is _RELAYING and not self._resume():
            fleet.released(engine)
            self._cut(error)
            return
        another = None
        if self.attempts <= services.settings.retries and dispatcher.may_retry():
            another = dispatcher.ask_another(self)
            if another is None and self.fallbacks:
                another = self._fall_back()
                if another is None and self.dispatcher is not dispatcher:
                    self.phase = _QUEUED
                    fleet.released(engine)
                    return
        fleet.released(engine)
        if another is not None:
            services.metrics.failovers.add(error.kind)
            self.granted(another)
        elif self.phase is _RELAYING:
            self._cut(error)
        else:
            self.refuse(self._verdict(error))

    def _resume(self) -> bool:
        """Turn the request into one that goes on where the text broke off. True when that can be asked."""
        transcript = None if self.relay is None else self.relay.transcript
        body = None if transcript is None else transcript.continued(self._engine_body)
        if body is None:
            return False
        self._engine_body = body
        self.services.metrics.resumes.add(self.model)
        return True

    def _verdict(self, error: EngineError) -> ApiError:
        if isinstance(self.last_error, ApiError):
            return self.last_error
        if error.kind in ("first_byte_timeout", "request_timeout"):
            return ApiError(
                504, "No engine answered in time. Try again later.", code="engine_timeout", error_type="server_error"
            )
        if error.kind in ("refused", "unreachable", "connect_timeout", "tls"):
            return unavailable("No engine can be reached. Try again later.")
        return ApiError(
            502, "The engine's answer broke off. Try again.", code="engine_error", error_type="server_error"
        )

    def _cut(self, error: EngineError) -> None:
        """The reply cannot be finished: say so in the stream where there is one, and never let it look whole."""
        if self.reply.head_sent and (self.stream or self._reply_type.startswith(EVENT_STREAM)):
            self.reply.broken(mid_event=self.relay is not None and self.relay.mid_event)
        self._finish(200, error.kind)
        self.client.abort()

    # --- ends

    def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        if self.phase is _OVER:
            return
        self._leave_engine()
        self.settle()
        self.reply.refuse(error, self.head.path)
        self._over(error.status, error.reason)

    def client_gone(self) -> None:
        """The client left: the engine must stop at once."""
        if self.phase is _OVER:
            return
        self._leave_engine()
        self._finish(499, "client_gone")

    def knock(self) -> bool:
        """Send the client something that changes nothing, so that one that has left says so. False: nothing can be sent."""
        reply = self.reply
        if self.client.writing_paused or (not reply.head_sent and reply.interim()):
            return True
        if self.stream and (self.relay is None or not self.relay.mid_event):
            reply.comment()
        return reply.head_sent

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
        self._cancel_task()
        engine, self.engine = self.engine, None
        if engine is not None:
            self.services.fleet.released(engine)
        elif self.dispatcher is not None and self.phase is _QUEUED:
            self.dispatcher.leave(self)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _engine_answered(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            fleet = self.services.fleet
            fleet.answered(engine)
            fleet.released(engine)

    def _over(self, status: int, reason: str) -> None:
        self._finish(status, reason)
        self.client.exchange_over()

    def _finish(self, status: int, reason: str) -> None:
        """The request is over. What others may wait for is given back at once; counting and logging can wait a moment."""
        self.phase = _OVER
        self.reason = reason
        self.body = self._engine_body = b""
        services = self.services
        services.active.discard(self)
        self.settle()
        prompt, completion = self._tokens()
        dispatcher = self.dispatcher
        if dispatcher is not None:
            dispatcher.request_ended()
        if self.queued and dispatcher is not None:
            dispatcher.charge(self, (prompt or 0) + (completion or 0) - self.cost)
        services.recorder.add(
            EndedRequest(
                monotonic(),
                self.times,
                self.caller,
                self.request_id,
                self.head.path,
                self.path,
                self.model,
                self.asked_model,
                None if dispatcher is None else dispatcher.metrics,
                self.stream,
                status,
                reason,
                self.engine_name,
                self.attempts,
                self.queued,
                prompt,
                completion,
                self.span,
                self.origin.address,
            )
        )

    # --- the clock

    def tick(self, now: float) -> None:
        """See services.Active."""
        if self.phase is _OVER:
            return
        settings = self.services.settings
        if self.phase is _QUEUED:
            dispatcher = self.dispatcher
            if dispatcher is not None:
                self._tick_queued(dispatcher, now)
            elif now - self.times.started_at > settings.request_timeout:
                self._timed_out("request_timeout")
            return
        times = self.times
        engine = self.engine
        if engine is not None and times.last_byte_at > engine.heard_at:
            engine.heard_at = times.last_byte_at
        what = due(self.phase, self.stream, times, settings, now)
        if what is Due.COMMENT:
            self._keep_alive(now)
        elif what is Due.PROBE:
            if self._task is None and engine is not None:
                times.probed_at = now
                self._task = asyncio.get_running_loop().create_task(self._probe(engine))
            if self.stream:
                self._keep_alive(now)
        elif what is not Due.NOTHING:
            self._timed_out(what.value)

    async def _probe(self, engine: Engine) -> None:
        """Leave an engine that is gone: it answers no probe, or has said nothing to anybody for long though it had begun several answers."""
        settings = self.services.settings
        since = self.times.last_byte_at
        gone = not await answers(engine, PROBE_TIMEOUT_S) or engine.stands_still(monotonic(), settings.stall_timeout)
        self._task = None
        if gone and self.engine is engine and self.times.last_byte_at == since:
            if self.phase is _WAITING:
                self._timed_out("first_byte_timeout")
            elif self.phase is _RELAYING:
                self._timed_out("stalled")

    def _tick_queued(self, dispatcher: Dispatcher, now: float) -> None:
        ready = bool(dispatcher.ready)
        wait_s = dispatcher.queue_timeout_s if ready else max(dispatcher.hold_timeout_s, dispatcher.queue_timeout_s)
        what = due_in_queue(self.times, self.services.settings, wait_s, self.promoted, now)
        if what is Due.REQUEST_TIMEOUT:
            self._timed_out(what.value)
        elif what is Due.QUEUE_TIMEOUT:
            self.refuse(
                unavailable("No engine had room in time. Try again later.", code="queue_timeout", retry_after_s=5)
                if ready
                else dispatcher.nobody_ready()
            )
        else:
            if what is Due.PROMOTE:
                self.promoted = True
                dispatcher.waiting.promote(self)
            if self.stream:
                self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        if self.client.writing_paused or not comment_due(self.times, self.services.settings.sse_comment_interval, now):
            return
        if self.phase is _RELAYING and self.relay is not None and self.relay.mid_event:
            return
        if self.reply.comment():
            self.times.comment_at = now

    def _timed_out(self, kind: str) -> None:
        self._drop_connection()
        self._cancel_task()
        error = EngineError(kind, "the engine took too long")
        if kind == "request_timeout" and self.phase is not _RELAYING:
            self.refuse(self._verdict(error))
        else:
            self._engine_failed(error)
