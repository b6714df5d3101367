# SPDX-License-Identifier: Apache-2.0
"""An address that must answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import urllib3

from ..describe.descriptor import Check
from .base import Context, NodeError, Outcome


@dataclass
class CheckNode:
    """One entry of the descriptor's `checks`."""

    component: str
    check: Check
    slow: bool = True

    @property
    def name(self) -> str:
        return f"check {self.check.http}"

    def run(self, context: Context) -> Outcome:
        if context.check:
            return Outcome()
        end = time.monotonic() + self.check.timeout
        with urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=10), retries=False) as pool:
            while True:
                said = self._ask(pool)
                if not said:
                    return Outcome()
                if time.monotonic() > end:
                    raise NodeError(
                        f"{self.check.http} did not answer {self.check.status} within {self.check.timeout} s: {said}"
                    )
                if context.stop.wait(0.5):
                    raise NodeError(f"{self.check.http}: waiting was interrupted")

    def _ask(self, pool: urllib3.PoolManager) -> str:
        """Empty when the answer is right."""
        try:
            status = pool.request("GET", self.check.http).status
        except urllib3.exceptions.HTTPError as error:
            return f"no answer ({type(error).__name__})"
        return "" if status == self.check.status else f"it answers {status}"
