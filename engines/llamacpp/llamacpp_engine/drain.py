# SPDX-License-Identifier: Apache-2.0
"""The end of a pod: wait for the answers under way, as llama.cpp itself does not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

# A request is seen by the counters only once it is tokenized, and its last bytes leave after its slot is free:
# one idle reading proves nothing, several in a row do.
IDLE_READINGS = 3
INTERVAL_S = 0.1

_BUSY = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


def requests_under_way(metrics: str) -> int:
    """Requests in a slot or waiting for one, from the text of llama.cpp's own metrics."""
    return sum(int(number) for number in _BUSY.findall(metrics))


def wait_until_idle(
    read_metrics: Callable[[], str],
    timeout_s: float,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Return once nothing is under way, or after `timeout_s`; what is left then (0 = drained)."""
    deadline = clock() + timeout_s
    idle = 0
    while True:
        left = requests_under_way(read_metrics())
        idle = 0 if left else idle + 1
        if idle >= IDLE_READINGS or clock() >= deadline:
            return left
        sleep(INTERVAL_S)
