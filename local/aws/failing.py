# SPDX-License-Identifier: Apache-2.0
"""Creations that AWS accepts and that fail later, as CREATE_FAILED: set through the admin address, and kept in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .errors import EmulatorError

# What can fail so, with what AWS says then.
# https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html, API_AddonIssue.html, API_ClusterIssue.html;
# https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
REASONS = {
    "eks:CreateNodegroup": ("NodeCreationFailure", "Instances failed to join the kubernetes cluster"),
    "eks:CreateAddon": (
        "ConfigurationConflict",
        "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode.",
    ),
    "eks:CreateCluster": ("InternalFailure", "The control plane could not be created"),
    "ec2:CreateNatGateway": ("Gateway.NotAttached", "Network vpc has no Internet gateway attached"),
    "ec2:CreateVpcEndpoint": ("InternalError", "The endpoint could not be created"),
    "efs:CreateMountTarget": ("error", "The mount target could not be created"),
}


@dataclass
class Failing:
    """The next `count` creations by a matching call fail later; -1 means all."""

    service: str = "*"
    operation: str = "*"
    code: str = ""
    message: str = ""
    count: int = 1

    def takes(self, call: str) -> bool:
        if self.count == 0 or not fnmatchcase(call, f"{self.service}:{self.operation}"):
            return False
        self.count -= 1 if self.count > 0 else 0
        return True


def failing(given: dict[str, Any]) -> Failing:
    """From a fault of kind `fails`. Raises EmulatorError."""
    found = Failing(**{key: value for key, value in given.items() if key != "kind"})
    if not any(fnmatchcase(call, f"{found.service}:{found.operation}") for call in REASONS):
        raise EmulatorError(
            f"aws emulator: no creation by {found.service}:{found.operation} can fail; known are {', '.join(REASONS)}"
        )
    return found


def failure_of(found: list[Failing], call: str) -> tuple[str, str] | None:
    """Code and message, if the creation by this call is to fail."""
    for one in found:
        if one.takes(call):
            code, message = REASONS[call]
            return one.code or code, one.message or message
    return None
