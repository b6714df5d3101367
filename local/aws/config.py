# SPDX-License-Identifier: Apache-2.0
"""Configuration of an emulated account, and how long its resources take."""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.aws_scopes import IMAGES, NAMES

from .errors import EmulatorError
from .listening import Address

PERMISSIONS = Path(__file__).resolve().parents[2] / "docs" / "aws_permissions.json"

# Seconds that AWS typically takes; `pace` scales them. Cluster and node group: infra.md section 3.1 and the EKS guide's
# "10 to 15 minutes"; mount targets: EFS guide, "up to 90 seconds"; NAT gateways: EC2 guide, "a few minutes"; last events of a cluster: terraform-aws-eks
# issue 2763, some minutes. What EC2 has made is found everywhere after a moment (young.py). A new role is known to other services after some seconds:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
REALISTIC_S = {
    "cluster": 540.0,
    "cluster-update": 150.0,
    "cluster-version": 480.0,
    "cluster-delete": 180.0,
    "nodegroup": 120.0,
    "nodegroup-update": 60.0,
    "nodegroup-delete": 150.0,
    "addon": 30.0,
    "addon-delete": 15.0,
    "file-system": 5.0,
    "file-system-delete": 5.0,
    "mount-target": 80.0,
    "mount-target-delete": 30.0,
    "access-point": 3.0,
    "nat-gateway": 90.0,
    "nat-gateway-delete": 45.0,
    "nat-gateway-failed": 3600.0,
    "endpoint": 60.0,
    "ec2": 3.0,
    "instance-delete": 40.0,
    "spot-interruption": 120.0,
    "load-balancer": 150.0,
    "load-balancer-delete": 120.0,
    "role": 8.0,
    "late-logs": 120.0,
}


@dataclass(frozen=True)
class EmulatorConfig:
    """`listen`: an address for each listener; `state`: folder of the journal, None for memory only; `pace`: 0 is at once, 1 as slow
    as AWS.

    `delays` overrides single kinds of REALISTIC_S, in seconds. Signatures with `access_key` and `secret_key` are those
    of `caller`. `policy`: the permissions of deployers; `names`: what the names of
    what they may change begin with, empty for any. `private`: calls that give rights on a cluster need such a
    signature (guarded.py). `registry`: the address of a registry that holds the account's images; without one ECR has only its API.
    """

    listen: tuple[Address, ...] = (Address("127.0.0.1", 0),)
    state: Path | None = None
    account: str = "123456789012"
    access_key: str = "local"
    secret_key: str = "local"  # noqa: S105 - the emulated account has no secrets
    private: bool = False
    caller: str = ""
    pace: float = 0.0
    delays: dict[str, float] = field(default_factory=dict)
    policy: Path | None = PERMISSIONS
    names: str = ""
    registry: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.delays) - set(REALISTIC_S))
        if unknown:
            raise EmulatorError(f"aws emulator: --delay names {unknown[0]!r}; known are {', '.join(REALISTIC_S)}")
        if self.pace < 0 or any(seconds < 0 for seconds in self.delays.values()):
            raise EmulatorError("aws emulator: pace and delays are not negative")
        if not (self.account.isdigit() and len(self.account) == 12):
            raise EmulatorError(f"aws emulator: account {self.account!r} is not a number of 12 digits")

    def permissions(self) -> list[dict[str, Any]] | None:
        """Statements of the policy that limits deployers; None: they may do everything. Raises EmulatorError."""
        if self.policy is None:
            return None
        try:
            text = self.policy.read_text(encoding="utf-8")
            if not self.names:
                text = text.replace(IMAGES, "*")
            found: list[dict[str, Any]] = json.loads(text.replace(NAMES, f"{self.names}*"))["Statement"]
            return found
        except (OSError, ValueError, KeyError) as error:
            raise EmulatorError(f"aws emulator: {self.policy} holds no IAM policy ({error})") from None

    def delay(self, kind: str) -> float:
        """Seconds that a kind of resource takes."""
        return self.delays.get(kind, REALISTIC_S[kind] * self.pace)

    @property
    def caller_arn(self) -> str:
        return self.caller or f"arn:aws:iam::{self.account}:user/llm-on-eks"


def keys_from(file: Path) -> dict[str, str]:
    """`access_key` and `secret_key` from an AWS credentials file, section default. Raises EmulatorError."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text())
        section = parser["default"]
        return {"access_key": section["aws_access_key_id"], "secret_key": section["aws_secret_access_key"]}
    except (OSError, KeyError, configparser.Error) as error:
        raise EmulatorError(f"aws emulator: {file} holds no credentials in its section default ({error})") from None
