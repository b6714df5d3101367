# SPDX-License-Identifier: Apache-2.0
"""One request on its way: admitted, given an engine, relayed, over; or failed over, refused, abandoned.

An exchange never awaits on the hot path: the client's connection starts it, attempts drive it by callbacks. Here is only the order of things.
What is asked is read by `Question`; `Approach` finds an engine; `Attempt` asks one; what the client gets is made by `Reply`, a stream goes through
`Relay`. An exchange extends the first two, and is the attempts' `Asker`, as one object is quicker than three.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from llm_gateway.data_path.answers import is_file, said_back, verdict
from llm_gateway.data_path.attempt import Asker, Attempt
from llm_gateway.data_path.deadlines import Due, Phase, comment_due, due
from llm_gateway.data_path.relay import Relay
from llm_gateway.data_path.reply import Client, Reply
from llm_gateway.errors import ApiError, EngineError
from llm_gateway.protocols import Translation, UntranslatableReply, openai, tables
from llm_gateway.telemetry.ended import EndedRequest, Times

if TYPE_CHECKING:
    from llm_gateway.callers.caller import Caller
    from llm_gateway.callers.limits import Ticket
    from llm_gateway.data_path.services import Services
    from llm_gateway.engines.engine import Engine
    from llm_gateway.http.head import Head
    from llm_gateway.http.origin import Origin

# Usage stands at a reply's end.
TAIL_BYTES: Final = 2048
_RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504})

_QUEUED: Final = Phase.QUEUED
_RELAYING: Final = Phase.RELAYING
_OVER: Final = Phase.OVER


class Exchange(Asker):
    """One request and its reply."""

    attempts = 0
    engine_name = ""
    reason = ""
    usage: tuple[int, int] | None = None
    last_error: ApiError | None = None

    def __init__(
        self, services: Services, client: Client, head: Head, body: bytes, caller: Caller, origin: Origin
    ) -> None:
        super().__init__(services, head, body, caller, origin)
        self.phase = _QUEUED
        self.client = client
        self.reply = Reply(client, services.outbox, self.request_id)
        self.times = Times(monotonic())

    # --- towards an engine

    def begin(self) -> None:
        """Start. Whatever happens, the client gets an answer or is gone."""
        services = self.services
        reply = self.reply
        if services.tracer is not None:
            self.span = services.tracer.begin(self.head.traceparent)
        try:
            body = self.open()
            if self.translation is not None:
                reply.translation = self.translation
                reply.more_lines = self.reply_lines()
            if self.head.origin is not None:
                reply.more_lines += services.cors.lines(self.head.origin)
            self.read(body)
            dispatcher = services.fleet.dispatcher(self.asked_model, self.caller)
            self.mean(dispatcher.model, body)
            services.active.add(self)
            self.approach(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def admitted(self, ticket: Ticket) -> None:
        """See Approach."""
        self.ticket = ticket
        self.reply.limit_lines = ticket.header_lines

    def granted(self, engine: Engine) -> None:
        """See Approach."""
        self.engine_name = engine.name
        self.attempts += 1
        self.times.engine_at = monotonic()
        self.attempt = attempt = Attempt(self, engine)
        attempt.start()

    # --- an engine has answered; see Asker

    def answered(self, body: bytes, content_type: bytes) -> None:
        """See Asker."""
        times = self.times
        try:
            if is_file(content_type) and self._takes_files():
                times.first_byte_at = times.last_byte_at = times.reply_at
                self._settled(b"")
                self.reply.whole(body, content_type)
                self._over(200, "")
                return
            answer = said_back(self.translation, body, stream=self.stream)
        except UntranslatableReply:
            self.failed(EngineError("garbage", "the engine's reply is not JSON, or makes no sense"))
            return
        except ApiError as error:
            self.erred(error)
            return
        times.first_byte_at = times.last_byte_at = times.reply_at
        # What the request held is given back before the client has its end, where it may ask another process next; else after.
        shared = self.services.shared
        if shared:
            self._settled(body)
        if self.stream and self.translation is not None and not self.reply.head_sent:
            self.reply.write(self.reply.begin(b""))
        self.reply.whole(answer)
        if not shared:
            self._settled(body)
        self._over(200, "")

    def streamed(self, relay: Relay, rest: bytes) -> None:
        """See Asker."""
        shared = self.services.shared
        if shared:
            self._settled(relay.tail)
        self.reply.end(rest)
        if not shared:
            self._settled(relay.tail)
        self._over(200, "")

    def refused(self, attempt: Attempt, status: int, body: bytes, retry_after: bytes) -> None:
        """See Asker."""
        if self.translation is not None and self._otherwise(attempt, self.translation, status, body):
            return
        error = openai.from_engine(status, body, retry_after)
        if status in _RETRIED_STATUSES:
            self.failed(EngineError("status", f"the engine answered with status {status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def erred(self, error: ApiError) -> None:
        """See Asker. The client gets the engine's words, and no other engine is asked for the same."""
        if self.attempt is not None:
            self.attempt.leave()
        if error.status in _RETRIED_STATUSES and not self.reply.head_sent:
            self.failed(EngineError("status", f"the engine's stream is an error: {error.status}"), error)
            return
        self._engine_answered()
        self.refuse(error)

    def _otherwise(self, attempt: Attempt, translation: Translation, status: int, body: bytes) -> bool:
        """An engine refused a request of ours: ask it in other words, or answer without it. True when either was done."""
        words = translation.again(status, body)
        if words is not None:
            self.engine_body = words if self.model == self.asked.model else openai.with_model(words, self.model)
            attempt.connect()
            return True
        answer = translation.instead(status)
        if answer is None:
            return False
        self._engine_answered()
        self.settle()
        self.reply.whole(answer)
        self._over(200, "")
        return True

    def _takes_files(self) -> bool:
        """Whether the answer may be something else than JSON: not to a chat, not where it is translated, not within a stream."""
        return self.translation is None and not self.reply.head_sent and self.path not in tables.TEXTS

    def _settled(self, body: bytes) -> None:
        """The answer is whole: note what it cost, and give back what it held."""
        usage = self.usage if self.relay is None else self.relay.usage
        self.usage = usage or openai.usage_in(body[-TAIL_BYTES:]) or openai.usage_in(body)
        self._engine_answered()
        self.settle()

    def _engine_answered(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            fleet = self.services.fleet
            fleet.answered(attempt.engine)
            fleet.released(attempt.engine)

    # --- an engine has failed

    def failed(self, error: EngineError, reply: ApiError | None = None) -> None:
        """See Asker. Another engine is asked, as long as that makes sense."""
        attempt, self.attempt = self.attempt, None
        dispatcher = self.dispatcher
        if attempt is None or dispatcher is None:
            return
        engine = attempt.engine
        services = self.services
        fleet = services.fleet
        self.last_error = reply
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
                another = self.fall_back()
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
            self.refuse(self.last_error or verdict(error))

    def _resume(self) -> bool:
        """Turn the request into one that goes on where the text broke off. True when that can be asked."""
        transcript = None if self.relay is None else self.relay.transcript
        body = None if transcript is None else transcript.continued(self.engine_body)
        if body is None:
            return False
        self.engine_body = body
        self.services.metrics.resumes.add(self.model)
        return True

    def timed_out(self, kind: str) -> None:
        """See Asker."""
        if self.attempt is not None:
            self.attempt.leave()
        error = EngineError(kind, "the engine took too long")
        if kind == "request_timeout" and self.phase is not _RELAYING:
            self.refuse(self.last_error or verdict(error))
        else:
            self.failed(error)

    def _cut(self, error: EngineError) -> None:
        """The reply cannot be finished: say so in the stream where there is one, and never let it look whole."""
        if self.reply.head_sent and (self.stream or self.reply.events):
            self.reply.broken(mid_event=self.relay is not None and self.relay.mid_event)
        self._finish(200, error.kind)
        self.client.abort()

    # --- ends

    def refuse(self, error: ApiError) -> None:
        """See Approach."""
        if self.phase is _OVER:
            return
        self._leave_engine()
        self.settle()
        self.reply.refuse(error, self.head.path)
        self._over(error.status, error.reason)

    def over(self) -> bool:
        """See Approach."""
        return self.phase is _OVER

    def client_gone(self) -> None:
        """The client left: the engine must stop at once."""
        if self.phase is _OVER:
            return
        self._leave_engine()
        self._finish(499, "client_gone")

    def knock(self) -> bool:
        """Send the client something that changes nothing, so that one that has left says so. False: nothing can be sent."""
        between = self.stream and (self.relay is None or not self.relay.mid_event)
        return self.client.writing_paused or self.reply.knock(comment=between)

    def client_slow(self) -> None:
        """The client does not keep up: let the engine wait."""
        if self.attempt is not None:
            self.attempt.pause()

    def client_ready(self) -> None:
        """The client has caught up."""
        if self.attempt is not None:
            self.attempt.resume()

    def _leave_engine(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.leave()
            self.services.fleet.released(attempt.engine)
        elif self.dispatcher is not None and self.phase is _QUEUED:
            self.dispatcher.leave(self)

    def _over(self, status: int, reason: str) -> None:
        self._finish(status, reason)
        self.client.exchange_over()

    # --- accounts

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

    def _finish(self, status: int, reason: str) -> None:
        """The request is over. What others may wait for is given back at once; counting and logging can wait a moment."""
        self.phase = _OVER
        self.reason = reason
        self.body = self.engine_body = b""
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
            self._tick_queued(now)
            return
        times = self.times
        attempt = self.attempt
        if attempt is not None and times.last_byte_at > attempt.engine.heard_at:
            attempt.engine.heard_at = times.last_byte_at
        what = due(self.phase, self.stream, times, settings, now)
        if what is Due.COMMENT:
            self._keep_alive(now)
        elif what is Due.PROBE:
            if attempt is not None:
                attempt.probe(now)
            if self.stream:
                self._keep_alive(now)
        elif what is not Due.NOTHING:
            self.timed_out(what.value)

    def _tick_queued(self, now: float) -> None:
        what = self.waiting(now)
        if what is Due.REQUEST_TIMEOUT:
            self.timed_out(what.value)
        elif what is Due.COMMENT and self.stream:
            self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        if self.client.writing_paused or not comment_due(self.times, self.services.settings.sse_comment_interval, now):
            return
        if self.phase is _RELAYING and self.relay is not None and self.relay.mid_event:
            return
        if self.reply.comment():
            self.times.comment_at = now
