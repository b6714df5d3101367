# SPDX-License-Identifier: Apache-2.0
"""One request on its way through upstream: what the HTTP side and the model side tell each other."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Ticket:
    """`cancelled`: nobody reads the answer any more. `failure`: what upstream would have swallowed."""

    route: str = ""
    stream: bool = False
    started: float = field(default_factory=time.monotonic)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    first_token_s: float | None = None
    cancelled: bool = False
    failure: BaseException | None = None


# Threads that upstream starts for a request take the context with them.
current_ticket: ContextVar[Ticket | None] = ContextVar("tgw_neuron_ticket", default=None)
