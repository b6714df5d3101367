# SPDX-License-Identifier: Apache-2.0
"""How far a transfer is, in words: for the Job's log, and for the controller's terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

_REPORT_EVERY_S = 2.0


def reporter(say: Callable[[str], None], every_s: float = _REPORT_EVERY_S) -> Callable[[int, int], None]:
    """Reports progress, speed and remaining time; at most one line in `every_s` seconds, and one at the end."""
    started = last = time.monotonic()
    first = -1

    def report(done: int, total: int) -> None:
        nonlocal last, first
        first = done if first < 0 else first
        now = time.monotonic()
        if now - last < every_s and done != total:
            return
        last = now
        rate = (done - first) / max(now - started, 0.001)
        left = f"  {duration_text((total - done) / rate)} left" if rate > 0 and done < total else ""
        say(f"{100 * done // max(total, 1)} %  {size_text(done)} of {size_text(total)}  {rate / 1e6:.0f} MB/s{left}")

    return report


def size_text(count: float) -> str:
    """`1.2 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count:.0f} B"


def duration_text(seconds: float) -> str:
    """`40 s`, `7 min`."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
