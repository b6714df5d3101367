# SPDX-License-Identifier: Apache-2.0
"""Failures on demand: throttling, temporary faults, recorded refusals, delays. Set through the admin address."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .errors import EmulatorError, Refusal, recorded

# How each service reports throttling: EC2 and the query services have codes of their own.
THROTTLED = {
    "ec2": ("RequestLimitExceeded", 503),
    "iam": ("Throttling", 400),
    "sts": ("Throttling", 400),
    "s3": ("SlowDown", 503),
    "sqs": ("RequestThrottled", 403),
    "ecr": ("ThrottlingException", 400),
    "efs": ("ThrottlingException", 429),
    "service-quotas": ("TooManyRequestsException", 429),
}


@dataclass
class Fault:
    """`service` and `operation` are patterns.

    Of the matching calls, the first `count` fail (-1: all), or each call once (`each`), or a share of them (`share`, by
    a seeded random generator).
    """

    service: str = "*"
    operation: str = "*"
    kind: str = "throttle"
    refusal: str = ""
    code: str = ""
    message: str = ""
    status: int = 400
    count: int = -1
    each: bool = False
    share: float = 1.0
    seed: int = 0
    seen: set[tuple[str, str]] = field(default_factory=set)
    dice: random.Random = field(default_factory=random.Random)

    def strikes(self, service: str, operation: str) -> bool:
        if not (fnmatchcase(service, self.service) and fnmatchcase(operation, self.operation)):
            return False
        if self.each:
            if (service, operation) in self.seen:
                return False
            self.seen.add((service, operation))
            return True
        if self.count == 0 or self.dice.random() >= self.share:
            return False
        self.count -= 1 if self.count > 0 else 0
        return True

    def error(self, service: str) -> Refusal:
        if self.refusal:
            found = recorded()[self.refusal]
            return Refusal(found.code, found.message, found.status)
        if self.kind == "throttle":
            code, status = THROTTLED.get(service, ("ThrottlingException", 429))
            return Refusal(code, "Rate exceeded", status)
        if self.kind in ("transient", "lost"):
            return Refusal("ServiceUnavailable", "The request has failed due to a temporary failure", 503)
        return Refusal(self.code, self.message or self.code, self.status)


class Faults:
    """The faults that are set; none is kept on disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, given: dict[str, Any]) -> None:
        """Raises EmulatorError on an unknown word."""
        unknown = sorted(set(given) - (set(Fault.__dataclass_fields__) - {"seen", "dice"}))
        if unknown:
            raise EmulatorError(f"aws emulator: a fault has no {unknown[0]!r}")
        if given.get("refusal") and given["refusal"] not in recorded():
            raise EmulatorError(f"aws emulator: no recorded refusal {given['refusal']!r}")
        if given.get("kind", "throttle") not in ("throttle", "transient", "error", "lost"):
            raise EmulatorError(
                f"aws emulator: fault kind {given['kind']!r}; known are throttle, transient, error, lost"
            )
        fault = Fault(**given)
        fault.dice.seed(fault.seed)
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def strike(self, service: str, operation: str) -> Refusal | None:
        """The error for this call, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.kind != "lost" and fault.strikes(service, operation):
                    return fault.error(service)
        return None

    def lose(self, service: str, operation: str) -> Refusal | None:
        """The error in place of the answer of this call, which was carried out, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.kind == "lost" and fault.strikes(service, operation):
                    return fault.error(service)
        return None
