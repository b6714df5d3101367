# SPDX-License-Identifier: Apache-2.0
"""Runs on an account whose clock jumps: AWS takes its minutes, and nobody waits for them.

While all threads of a run sleep and no call is under way, the clock goes to the moment at which the first of them wakes.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import boto3
from botocore.config import Config

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from tests.support.emulated_aws import KEYS, EmulatedAws

# How long nothing must have been asked before the clock jumps: a thread may be between two calls.
_QUIET_S = 0.01
_LOOK_S = 0.003
# A run looks again after at least so long: here a look costs more than the minutes do.
_PATIENCE_S = 4


class Warp:
    """The clock of an account and of those who wait for it."""

    def __init__(self, aws: EmulatedAws, region: str) -> None:
        self._aws, self._region = aws, region
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._wakes: list[float] = []
        self._busy, self._last = 0, time.monotonic()
        self._clients: dict[str, Any] = {}

    def now(self) -> float:
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float, stop: threading.Event) -> bool:
        """Until so much later by the account's clock; True when the run is being ended."""
        wake = self.now() + seconds
        with self._lock:
            self._wakes.append(wake)
        try:
            while self.now() < wake:
                if stop.wait(_LOOK_S):
                    return True
                self._jump(wake)
        finally:
            with self._lock:
                self._wakes.remove(wake)
        return stop.is_set()

    def _jump(self, wake: float) -> None:
        with self._lock:
            quiet = not self._busy and time.monotonic() - self._last > _QUIET_S
            if quiet and wake <= min(self._wakes) and (missing := wake - self.now()) > 0:
                self._ahead += missing
                self._aws.admin("PUT", "clock", {"ahead": self._ahead})

    def client(self, service: str) -> Any:
        """A client of the account for all its runs: to make one costs more than ten calls."""
        with self._lock:
            if service not in self._clients:
                config = Config(retries={"total_max_attempts": 1}, user_agent_extra="llm.on_eks")
                session = boto3.session.Session(region_name=self._region, **KEYS)
                self._clients[service] = self._counted(
                    session.client(service, endpoint_url=self._aws.url, config=config)
                )
            return self._clients[service]

    def _counted(self, client: Any) -> Any:
        """The client, whose calls keep the clock from jumping."""
        client.meta.events.register_first("before-call", self._begin)
        for event in ("after-call", "after-call-error"):
            client.meta.events.register_last(event, self._end)
        return client

    def _begin(self, **__: Any) -> None:
        with self._lock:
            self._busy += 1

    def _end(self, **__: Any) -> None:
        with self._lock:
            self._busy -= 1
            self._last = time.monotonic()


class WarpedConnection(Connection):
    """A deployer's connection, held to the published permissions, on the account's clock."""

    def __init__(self, region: str, warp: Warp) -> None:
        self._warp = warp
        super().__init__(warp.client, region, retry_delay_s=0.005)

    def now(self) -> float:
        return self._warp.now()

    def sleep(self, seconds: float) -> None:
        if self._warp.sleep(max(seconds, _PATIENCE_S), self.stop):
            raise AwsError("AWS: the run was interrupted; run it again to go on from here")
