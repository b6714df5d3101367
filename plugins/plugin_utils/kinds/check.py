# SPDX-License-Identifier: Apache-2.0
"""An address that must answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import urllib3

from ...module_utils.proxies import pool, proxy_for
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
        if context.run.check:
            return Outcome()
        end = time.monotonic() + self.check.timeout
        timeout = urllib3.Timeout(connect=5, read=10)
        with pool(proxy_for(self.check.http), timeout=timeout, retries=False) as connections:
            while True:
                said = self._ask(connections)
                if not said:
                    return Outcome()
                if time.monotonic() > end:
                    raise NodeError(
                        f"{self.check.http} did not answer {self.check.status} within {self.check.timeout} s: {said}"
                    )
                if context.run.stop.wait(0.5):
                    raise NodeError(f"{self.check.http}: waiting was interrupted")

    def _ask(self, connections: urllib3.PoolManager) -> str:
        """Empty when the answer is right."""
        try:
            status = connections.request("GET", self.check.http).status
        except urllib3.exceptions.HTTPError as error:
            return f"no answer ({type(error).__name__})"
        return "" if status == self.check.status else f"it answers {status}"
