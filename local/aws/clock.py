# SPDX-License-Identifier: Apache-2.0
"""One clock for the whole emulator. It stands still during a request, and shows past times while a journal is replayed."""

from __future__ import annotations

import datetime
import time
from typing import Any


class Clock:
    """Seconds since the epoch, as UTC."""

    def __init__(self) -> None:
        self.now = time.time()

    def set(self, at: float) -> None:
        self.now = at

    def datetime(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.now, datetime.UTC)


def rule_moto(clock: Clock) -> None:
    """Make moto's timestamps follow the clock: all of them come from `moto.core.utils`."""
    from moto.core import utils

    real: Any = datetime.datetime

    class Datetime(real):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            found: datetime.datetime = real.fromtimestamp(clock.now, tz)
            return found

    class Module:
        """The module `datetime` with our class in it."""

        datetime = Datetime

        def __getattr__(self, name: str) -> Any:
            return getattr(datetime, name)

    utils.datetime = Module()
