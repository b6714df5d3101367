# SPDX-License-Identifier: Apache-2.0
"""The emulator's own state, its pending changes, and the tables of operations and guards that work on it."""

from __future__ import annotations

import datetime
import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from moto.moto_api._internal import mock_random
from moto.utilities.utils import get_partition

from .clock import Clock
from .config import EmulatorConfig
from .failing import Failing, failure_of

Params = dict[str, Any]
Result = dict[str, Any]
Statement = dict[str, Any]


@dataclass
class World:
    """The state of all accounts and regions that moto does not keep.

    `endpoints`: cluster name -> (URL, CA as PEM); `stuck`: patterns of load balancers' names whose interfaces stay;
    `leaking`: nodes leave an interface behind; `denied`: patterns of IAM actions that nobody may do; `allowed`: the statements
    of the policy that a deployer has, None for one that may do all; `used`: actions that deployers needed so far; `failing`: creations that
    are to fail; `young`: id in EC2 -> (when everybody finds it, the error code until then).
    """

    config: EmulatorConfig
    clock: Clock
    stores: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    endpoints: dict[str, tuple[str, str]] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    leaking: bool = False
    denied: list[str] = field(default_factory=list)
    allowed: list[Statement] | None = None
    used: set[str] = field(default_factory=set)
    failing: list[Failing] = field(default_factory=list)
    young: dict[str, tuple[float, str]] = field(default_factory=dict)
    _due: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    _sequence: int = 0

    def fails(self, call: str) -> tuple[str, str] | None:
        """Code and message, if the creation by `eks:CreateNodegroup` or another is to fail."""
        return failure_of(self.failing, call)

    def denies(self, action: str) -> bool:
        """Whether an IAM action, as `eks:CreateCluster`, was denied by the admin address."""
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in self.denied)

    def after(self, seconds: float, then: Callable[[], object]) -> None:
        """Schedule a change; with 0 seconds it happens before the next request."""
        self._sequence += 1
        heapq.heappush(self._due, (self.clock.now + seconds, self._sequence, then))

    def settle(self) -> None:
        """Carry out all changes that are due."""
        while self._due and self._due[0][0] <= self.clock.now:
            heapq.heappop(self._due)[2]()


@dataclass
class Session:
    """The state as one call sees it."""

    world: World
    account: str
    region: str
    caller_arn: str

    @property
    def role_arn(self) -> str:
        """The role whose session calls; empty for other callers."""
        found = re.fullmatch(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/.+", self.caller_arn)
        return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else ""

    @property
    def partition(self) -> str:
        return str(get_partition(self.region))

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def now(self) -> datetime.datetime:
        return self.world.clock.datetime()

    def identifier(self, prefix: str, digits: int = 17) -> str:
        """`fs-0123456789abcdef0`, by the random seed that the journal keeps."""
        return f"{prefix}{mock_random.getrandbits(4 * digits):0{digits}x}"

    def uuid(self) -> str:
        return str(mock_random.uuid4())

    def store(self, service: str, make: Callable[[], Any]) -> Any:
        """The service's state in this account and region."""
        return self.world.stores.setdefault((self.account, self.region, service), make())

    def delay(self, kind: str) -> float:
        return self.world.config.delay(kind)


Operation = Callable[[Session, Params], Result]
Overlay = Callable[[Session, Params, Result], Result]

# (service, operation) -> the function that carries it out; those that may refuse before moto does; the one that
# completes moto's answer.
OPERATIONS: dict[tuple[str, str], Operation] = {}
GUARDS: dict[tuple[str, str], list[Callable[[Session, Params], None]]] = {}
OVERLAYS: dict[tuple[str, str], Overlay] = {}


def operation(service: str, name: str) -> Callable[[Operation], Operation]:
    """Register a function that carries an operation out itself."""

    def register(function: Operation) -> Operation:
        OPERATIONS[service, name] = function
        return function

    return register


def guard(service: str, name: str) -> Callable[[Callable[[Session, Params], None]], Callable[[Session, Params], None]]:
    """Register a function that checks a call before moto carries it out, and raises Refusal where AWS would."""

    def register(function: Callable[[Session, Params], None]) -> Callable[[Session, Params], None]:
        GUARDS.setdefault((service, name), []).append(function)
        return function

    return register


def overlay(service: str, name: str) -> Callable[[Overlay], Overlay]:
    """Register a function that completes moto's answer."""

    def register(function: Overlay) -> Overlay:
        OVERLAYS[service, name] = function
        return function

    return register
