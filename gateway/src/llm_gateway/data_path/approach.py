# SPDX-License-Identifier: Apache-2.0
"""A request's way to an engine: admitted, given one, or waiting in a queue; of a fallback model, where its own has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llm_gateway.data_path.deadlines import Due, due_in_queue
from llm_gateway.data_path.question import Question
from llm_gateway.errors import ApiError, unavailable
from llm_gateway.protocols import openai
from llm_gateway.telemetry.ended import Times

if TYPE_CHECKING:
    from llm_gateway.callers.caller import Caller
    from llm_gateway.callers.limits import Subject, Ticket
    from llm_gateway.data_path.services import Services
    from llm_gateway.engines.dispatch import Dispatcher
    from llm_gateway.engines.engine import Engine
    from llm_gateway.http.head import Head
    from llm_gateway.http.origin import Origin

_NONE: Final[frozenset[Engine]] = frozenset()


class Approach(Question):
    """A request that wants an engine; see dispatch.Waiter. What becomes of it is told to `granted` or `refuse`."""

    dispatcher: Dispatcher | None = None
    fallbacks: tuple[str, ...] = ()
    ticket: Ticket | None = None
    queued = False
    promoted = False
    times: Times
    tried: frozenset[Engine]  # they have failed this request

    def __init__(self, services: Services, head: Head, body: bytes, caller: Caller, origin: Origin) -> None:
        super().__init__(services, head, body, caller, origin)
        self.tried = _NONE

    def granted(self, engine: Engine) -> None:
        """An engine was chosen and counts this request already."""
        raise NotImplementedError

    def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        raise NotImplementedError

    def admitted(self, ticket: Ticket) -> None:
        """The request is within all limits."""
        self.ticket = ticket

    def over(self) -> bool:
        """Whether nobody waits for an answer any more."""
        raise NotImplementedError

    def approach(self, dispatcher: Dispatcher) -> None:
        """Be admitted, and ask for an engine. Raises ApiError."""
        services = self.services
        admission = services.admission
        if self.head.priority is not None or admission.has_classes:
            self.rank = admission.rank(self.caller.key, self.head.priority)
        subjects = admission.limited(self.caller, dispatcher.subjects)
        if subjects is not None:
            answer = openai.answer_tokens(self.asked, services.settings.limit_reserve_tokens)
            reserved = float(self.prompt_tokens + answer)
            if admission.remote is not None:
                services.run(self._admit_remotely(subjects, reserved, dispatcher))
                return
            self.admitted(admission.admit(subjects, reserved))
        self._dispatch(dispatcher)

    async def _admit_remotely(self, subjects: list[Subject], reserved: float, dispatcher: Dispatcher) -> None:
        """Never cancelled: what Redis has counted must be given back, even if the client has left meanwhile."""
        try:
            ticket = await self.services.admission.admit_remotely(subjects, reserved, self.request_id)
            if self.over():
                ticket.settle(0, 0)
                return
            self.admitted(ticket)
            self._dispatch(dispatcher)
        except ApiError as error:
            self.refuse(error)

    def _dispatch(self, dispatcher: Dispatcher) -> None:
        """Ask for an engine; of a fallback's, when the model's own cannot take it. Raises ApiError."""
        self.dispatcher = dispatcher
        self.fallbacks = fallbacks = self.services.fleet.fallbacks(self.model)
        try:
            engine = dispatcher.ask(self, hold=not fallbacks)
        except ApiError:
            if not fallbacks:
                raise
            engine = self.fall_back()
            if engine is None and self.dispatcher is dispatcher:
                raise
        if engine is not None:
            self.granted(engine)
        else:
            self.queued = True

    def fall_back(self) -> Engine | None:
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
            self.engine_body = self.with_model(self.engine_body, model)
            return engine
        return None

    def waiting(self, now: float) -> Due:
        """Time passes while no engine has the request: it moves up a class, or is refused. Due is what is left to be done."""
        dispatcher = self.dispatcher
        times, settings = self.times, self.services.settings
        if dispatcher is None:  # Redis has not answered yet
            return Due.REQUEST_TIMEOUT if now - times.started_at > settings.request_timeout else Due.NOTHING
        ready = bool(dispatcher.ready)
        wait_s = dispatcher.queue_timeout_s if ready else max(dispatcher.hold_timeout_s, dispatcher.queue_timeout_s)
        what = due_in_queue(times, settings, wait_s, self.promoted, now)
        if what is Due.QUEUE_TIMEOUT:
            late = unavailable("No engine had room in time. Try again later.", code="queue_timeout", retry_after_s=5)
            self.refuse(late if ready else dispatcher.nobody_ready())
        elif what is Due.PROMOTE:
            self.promoted = True
            dispatcher.waiting.promote(self)
            what = Due.COMMENT
        return what
