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
    PROBE = "probe"  # ask its engine whether it is well
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"  # ask another engine
    STALLED = "stalled"  # give the stream up
    REQUEST_TIMEOUT = "request_timeout"  # its whole time is over


_QUEUED: Final = Phase.QUEUED
_WAITING: Final = Phase.WAITING
_RELAYING: Final = Phase.RELAYING


def due(phase: Phase, stream: bool, times: Times, settings: Settings, now: float) -> Due:
    """For a request that is anywhere but in a queue (see `due_in_queue`)."""
    if now - times.started_at > settings.request_timeout:
        return Due.REQUEST_TIMEOUT
    if phase is _RELAYING:
        if settings.stall_timeout and now - times.last_byte_at > settings.stall_timeout:
            return Due.STALLED
        return Due.COMMENT if stream else Due.NOTHING
    limit_s = settings.first_byte_timeout
    if stream:
        return Due.FIRST_BYTE_TIMEOUT if limit_s and now - times.engine_at > limit_s else Due.COMMENT
    if limit_s and phase is _WAITING and now - max(times.engine_at, times.probed_at) > limit_s:
        # A plain reply's first byte comes with its end: only a probe can tell an engine that works from one that is stuck.
        return Due.PROBE
    return Due.NOTHING


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
