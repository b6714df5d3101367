# SPDX-License-Identifier: Apache-2.0
"""SIGTERM: finish what was begun, then let whoever handles the signal have it.

Upstream, uvicorn and sse-starlette each take SIGTERM for themselves, and streams are cut at once. Whatever handler they
set is kept and called after the drain; a process that is PID 1 without a handler ends too.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__package__)

_POLL_S = 0.05
# A stream's last bytes leave just after its request is over.
_AFTERWARDS_S = 0.2


class Drain:
    """`begin` closes the door, `idle` says whether anybody is still inside, for at most `timeout_s`."""

    def __init__(self, begin: Callable[[], None], idle: Callable[[], bool], timeout_s: float) -> None:
        self._begin, self._idle, self._timeout_s = begin, idle, timeout_s
        self._started = self._over = False
        self._handler: Any = signal.SIG_DFL
        self._set_handler = signal.signal

    def install(self) -> None:
        """From now on signal.signal(SIGTERM, …) sets what comes after the drain."""
        signal.signal = self._signal  # type: ignore[assignment]
        self._set_handler(signal.SIGTERM, self._on_sigterm)

    def _signal(self, number: int, handler: Any) -> Any:
        if number != signal.SIGTERM:
            return self._set_handler(number, handler)
        before, self._handler = self._handler, handler
        return before

    def _on_sigterm(self, number: int, frame: Any) -> None:
        if self._over:
            self._pass_on(number, frame)
        elif not self._started:
            self._started = True
            self._begin()
            # The event loop runs in this thread: waiting here would stop what is waited for.
            threading.Thread(target=self._wait, name="drain", daemon=True).start()

    def _wait(self) -> None:
        log.info("draining, at most %g s", self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        while not self._idle() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        log.info("drained" if self._idle() else "drain timeout: requests are cut off")
        time.sleep(_AFTERWARDS_S)
        self._over = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _pass_on(self, number: int, frame: Any) -> None:
        if callable(self._handler):
            self._handler(number, frame)
        elif self._handler != signal.SIG_IGN:
            os._exit(0)
