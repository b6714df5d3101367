# SPDX-License-Identifier: Apache-2.0
"""A request that is over, as metrics, access log and traces see it."""

from __future__ import annotations

from typing import Final

from llm_gateway.callers.caller import Caller
from llm_gateway.telemetry.instruments import ModelMetrics
from llm_gateway.telemetry.span import Span


class Times:
    """When a request reached which point, in seconds of the monotonic clock; 0: not yet."""

    __slots__ = (
        "comment_at",
        "engine_at",
        "first_byte_at",
        "last_byte_at",
        "probed_at",
        "reply_at",
        "sent_at",
        "started_at",
    )

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at  # its last byte was in
        self.engine_at = 0.0  # it was given its (last) engine
        self.sent_at = 0.0  # that engine had it
        self.first_byte_at = 0.0  # of the reply
        self.last_byte_at = 0.0  # of the reply, as far as it came
        self.reply_at = 0.0  # the engine's reply was whole
        self.comment_at = 0.0  # the client was last sent a comment
        self.probed_at = 0.0  # its engine was last asked whether it is well


class EndedRequest:
    """One request, from first to last. Nothing of it changes any more."""

    __slots__ = (
        "asked_model",
        "attempts",
        "caller",
        "client",
        "completion_tokens",
        "ended_at",
        "engine",
        "metrics",
        "model",
        "path",
        "prompt_tokens",
        "queued",
        "reason",
        "request_id",
        "route",
        "span",
        "status",
        "stream",
        "times",
    )

    def __init__(
        self,
        ended_at: float,
        times: Times,
        caller: Caller,
        request_id: bytes,
        path: bytes,
        route: bytes,
        model: str,
        asked_model: str,
        metrics: ModelMetrics | None,
        stream: bool,
        status: int,
        reason: str,
        engine: str,
        attempts: int,
        queued: bool,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        span: Span | None,
        client: str,
    ) -> None:
        self.ended_at: Final = ended_at
        self.times: Final = times
        self.caller: Final = caller
        self.request_id: Final = request_id
        self.path: Final = path  # as the client asked
        self.route: Final = route  # in OpenAI's API
        self.model: Final = model
        self.asked_model: Final = asked_model
        self.metrics: Final = metrics  # of its model; None: it never came to one
        self.stream: Final = stream
        self.status: Final = status
        self.reason: Final = reason  # one word where it did not end well
        self.engine: Final = engine
        self.attempts: Final = attempts
        self.queued: Final = queued
        self.prompt_tokens: Final = prompt_tokens  # None: unknown
        self.completion_tokens: Final = completion_tokens
        self.span: Final = span
        self.client: Final = client  # its address

    @property
    def waited(self) -> bool:
        """Whether it had to wait for its engine, or for another one."""
        return self.attempts > 0 and (self.queued or self.attempts > 1)
