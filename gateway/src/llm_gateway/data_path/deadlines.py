# SPDX-License-Identifier: Apache-2.0
"""What time asks of a request. Pure functions of where it is, since when, and of the settings; `Exchange.tick` does what they say."""

from __future__ import annotations

from enum import Enum
from typing import Final

from llm_gateway.config.settings import Settings
from llm_gateway.telemetry.ended import Times


class Phase(Enum):
    """Where a request is."""

    QUEUED = "queued"
    CONNECTING = "connecting"
    WAITING = "waiting"  # the engine has it, the client has nothing yet
    RELAYING = "relaying"  # the client has the first bytes: no other engine can take over, unless the text so far can be continued
    OVER = "over"


class Due(Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    COMMENT = "comment"  # tell the client that we live, if it was silent for long
    PROMOTE = "promote"  # let it move up a class in its queue
    QUEUE_TIMEOUT = "queue_timeout"  # it has waited long enough for an engine
    PROBE = "probe"  # it has been silent for long: ask its engine whether it is well
    REQUEST_TIMEOUT = "request_timeout"  # its whole time is over


_QUEUED: Final = Phase.QUEUED
_WAITING: Final = Phase.WAITING
_RELAYING: Final = Phase.RELAYING


def due(phase: Phase, stream: bool, times: Times, settings: Settings, now: float) -> Due:
    """For a request that is anywhere but in a queue (see `due_in_queue`)."""
    relaying = phase is _RELAYING
    if not (relaying and stream) and now - times.started_at > settings.request_timeout:
        return Due.REQUEST_TIMEOUT  # a stream that has begun may take as long as it delivers
    limit_s = settings.stall_timeout if relaying else settings.first_byte_timeout
    since = times.last_byte_at if relaying else times.engine_at
    if limit_s and (relaying or phase is _WAITING) and now - max(since, times.probed_at) > limit_s:
        # Silence alone says nothing: a long prompt, a full queue, a tool parser that holds back arguments. A probe tells slow from broken.
        return Due.PROBE
    return Due.COMMENT if stream else Due.NOTHING


def due_in_queue(times: Times, settings: Settings, wait_s: float, promoted: bool, now: float) -> Due:
    """For a request that waits for an engine, at most `wait_s` seconds; `promoted`: it has moved up a class already."""
    waited_s = now - times.started_at
    if waited_s > settings.request_timeout:
        return Due.REQUEST_TIMEOUT
    if waited_s > wait_s:
        return Due.QUEUE_TIMEOUT
    return Due.PROMOTE if not promoted and waited_s > wait_s / 2 else Due.COMMENT


def comment_due(times: Times, interval_s: float, now: float) -> bool:
    """Whether the client of a stream has heard nothing for `interval_s` (0: comments are off)."""
    since = max(times.last_byte_at, times.comment_at, times.started_at)
    return interval_s > 0 and now - since >= interval_s
