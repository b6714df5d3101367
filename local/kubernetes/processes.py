# SPDX-License-Identifier: Apache-2.0
"""Ends processes that nobody supervises any more."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection


def kill_all(find: Callable[[], Collection[int]], timeout_s: float) -> bool:
    """SIGKILL to every process that `find` gives, until it gives none or `timeout_s` has passed; True when there was one."""
    end = time.monotonic() + timeout_s
    found = False
    while (left := find()) and time.monotonic() < end:
        found = True
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return found
