# SPDX-License-Identifier: Apache-2.0
"""What a run prints while it works: a line for each finished node, and now and then what is running. Ends the run with its parent."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from ..objects.masking import Masker
from ..run.engine import Hooks
from ..run.scheduler import Done, Running
from .report import node_line, running_line

# Seconds between two summaries of what is running: short on a terminal, long in a log.
_SUMMARY_S = 10 if sys.stdout.isatty() else 60


def hooks(say: Callable[..., None]) -> Hooks:
    """`say`: Ansible's display. The run ends when the process that started it has ended: nobody reads its output any more."""
    told = [time.monotonic()]
    parent = os.getppid()

    def finished(done: Done, check: bool, masker: Masker) -> None:
        line = node_line(done, check, masker)
        if line:
            told[0] = time.monotonic()
            say(line, color="red" if done.state == "failed" else None)

    def running(now: Running) -> None:
        if os.getppid() != parent:
            raise KeyboardInterrupt
        if time.monotonic() - told[0] > _SUMMARY_S:
            told[0] = time.monotonic()
            say(running_line(now))

    return Hooks(finished=finished, running=running, say=say)
