# SPDX-License-Identifier: Apache-2.0
"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float = 60, pause: float = 0.2) -> Found:
    """What `look` finds at last. Fails when it is nothing for so many seconds; `pause`: between two looks."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, look
        time.sleep(pause)
    return found
