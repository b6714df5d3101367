# SPDX-License-Identifier: Apache-2.0
"""One line of the access log."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, omit_defaults=True):
    """One request. Times are seconds; `time` is since the epoch."""

    time: float
    request_id: str
    key: str
    model: str
    path: str
    status: int
    duration_s: float
    stream: bool = False
    reason: str = ""
    engine: str = ""
    attempts: int = 0
    queue_s: float = 0
    first_byte_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    trace_id: str | None = None
    tenant: str = ""
    client: str = ""
