# SPDX-License-Identifier: Apache-2.0
"""A platform's first week on an account: what is described on each day, and what the account does to those who run it."""

from __future__ import annotations

import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from tests.support.aws_roles import ROLES
from tests.support.aws_walk import Walk
from tests.support.described import Component, describe
from tests.support.emulated_aws import REGION, EmulatedAws, make_role
from tests.support.warped_aws import Warp, WarpedConnection

# AWS takes a tenth of its time; `Warp` lets even that pass at once.
PACE = ("--pace", "0.1")
# What names begin with of what a deployer may change there.
HELD = "--deployer-names"
PLATFORM = {
    "platform_provider": "eks",
    "platform_aws_region": REGION,
    "platform_protected": False,
    "model_catalog": [],
    "network_zones": ["a", "b"],
    "cluster_version": "1.35",
    "storage_efs_retain": False,
    # A cluster of this machine has classes of the usual names.
    "storage_efs_class": "files",
    "storage_ebs_class": "disks",
}
STATEMENTS = [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::weights/*"}]
SYSTEM = {"instance_types": ["m7i.large"], "capacity_type": "ON_DEMAND", "min_size": 3, "max_size": 5, "disk_size": 80}
GPU = {"name": "gpu", "instance_types": ["g6.xlarge"], "min_size": 0, "max_size": 2}
ADMINS = "people"
# What people change in their first week: every default of the AWS roles that can be changed, once.
NODES = {
    "node_groups_system": SYSTEM,
    "node_groups_hop_limit": 2,
    "node_groups_repair": True,
    "node_groups_policies": ["AmazonSSMManagedInstanceCore"],
    "node_groups_tags": {"team": "nodes"},
    "node_groups_addons_extra": [{"name": "snapshot-controller"}],
}
CONTROL = {
    "cluster_support_type": "EXTENDED",
    "cluster_public_access_cidrs": ["192.0.2.0/24"],
    "cluster_private_access_cidrs": ["10.0.0.0/8"],
    "cluster_logging": ["audit"],
    "cluster_log_retention_days": 90,
    "cluster_encryption_key": "own",
    "cluster_scaling_tier": "tier-xl",
    "cluster_deletion_protection": True,
    "cluster_admins": [f"arn:aws:iam::123456789012:role/{ADMINS}"],
    "cluster_tags": {"team": "control"},
}
NETWORK = {
    "network_nat": "per_zone",
    "network_endpoints": ["s3", "ecr.api"],
    "network_flow_logs": "REJECT",
    "network_flow_logs_days": 7,
    "network_tags": {"team": "net"},
}
FILES = {
    "storage_efs_throughput_mode": "provisioned",
    "storage_efs_throughput_mibps": 64,
    "storage_efs_backup": True,
    "storage_efs_transition_to_ia": "AFTER_30_DAYS",
    "storage_efs_tags": {"team": "files"},
    "storage_ebs_tags": {"team": "disks"},
    "storage_s3_state": "present",
    "storage_s3_buckets": [{"name": "weights", "bucket": "my-models"}],
}
RIGHTS = {
    "identity_load_balancer_controller": True,
    "identity_roles": [
        {"name": "engines", "namespace": "llm-engines", "service_account": "engine", "statements": STATEMENTS}
    ],
    "identity_tags": {"team": "rights"},
    "karpenter_aws_state": "present",
    "karpenter_aws_instance_profile": True,
    "karpenter_aws_tags": {"team": "karpenter"},
}
GROUP = {"node_groups_extra": [GPU]}
NEWER = {"cluster_version": "1.36"}
# Day -> what is described then, beside PLATFORM.
DAYS = {
    "made": {},
    "other nodes": NODES,
    "another control plane": {**NODES, **CONTROL},
    "another network": {**NODES, **CONTROL, **NETWORK},
    "other files and rights": {**NODES, **CONTROL, **NETWORK, **FILES, **RIGHTS},
    "one more group": {**NODES, **CONTROL, **NETWORK, **FILES, **RIGHTS, **GROUP},
    "a newer version": {**NODES, **CONTROL, **NETWORK, **FILES, **RIGHTS, **GROUP, **NEWER},
    # Secrets stay encrypted: EKS does not take that back. What is only skipped would stay as it is.
    "as in the beginning": {
        **NEWER,
        "cluster_encryption_key": "own",
        "karpenter_aws_state": "absent",
        "storage_s3_state": "absent",
    },
}
FAILING = (
    *(("eks", "CreateNodegroup"), ("eks", "CreateAddon"), ("eks", "CreateCluster")),
    *(("ec2", "CreateNatGateway"), ("ec2", "CreateVpcEndpoint"), ("efs", "CreateMountTarget")),
)
# Quotas that are used up on a day, and what a new account has: Elastic IP addresses, VPCs.
LIMITS = {"L-0263D0A3": (0, 5), "L-F678F1CE": (1, 5)}
# How often the same run is repeated before somebody would look into the console.
_TRIES = 8
# Seconds between two runs: nobody is faster.
_BETWEEN_S = 10


def described(cluster: str, *days: str) -> dict[str, list[Component]]:
    """Day -> the components of the AWS roles; of all DAYS where none is named."""
    wanted = days or tuple(DAYS)
    given = {"platform_cluster_name": cluster}
    hosts = {day: f"week-{number}" for number, day in enumerate(DAYS) if day in wanted}
    found = describe({host: {**PLATFORM, **given, **DAYS[day]} for day, host in hosts.items()})
    return {day: [one for one in found[host] if one["name"] in (*ROLES, "storage_s3")] for day, host in hosts.items()}


class Week(ABC):
    """An account, and those who run the platform `cluster` on it. `runs`: how many it took."""

    def __init__(self, aws: EmulatedAws, cluster: str, seed: int) -> None:
        self.aws, self.cluster = aws, cluster
        self.dice, self.warp = random.Random(seed), Warp(aws, REGION)
        self.runs = 0
        make_role(aws, ADMINS)

    @abstractmethod
    def apply(self, components: Sequence[Component]) -> list[str]:
        """One run; what it did. Raises LlmOnEksError where it ends with an error."""

    @abstractmethod
    def remove(self, components: Sequence[Component], ends: int | None = None) -> None:
        """One removal, which is interrupted after so many steps. Raises LlmOnEksError."""

    def live(self, days: Sequence[Sequence[Component]]) -> None:
        """These days, a removal that is interrupted, and the first day again. Raises AssertionError where somebody would have to help."""
        for components in days:
            self.day(components)
        self.leave(days[-1])
        self.day(days[0])

    def day(self, components: Sequence[Component]) -> None:
        self.change(components)
        assert self.apply(components) == [], "a second run changes nothing"

    def change(self, components: Sequence[Component]) -> None:
        """What is described becomes true, on a day with trouble."""
        self._trouble()
        self._until_done(lambda: self.apply(components))
        self.aws.admin("DELETE", "faults")

    def leave(self, components: Sequence[Component]) -> None:
        self._trouble()
        with contextlib.suppress(LlmOnEksError):  # it may be in trouble before it is interrupted
            self.remove(components, ends=self.dice.randrange(5, 60))
        self._until_done(lambda: self.remove(components))
        self.aws.admin("DELETE", "faults")
        left = [f"{item.kind} {item.name or item.id}" for item in census(self.connection(), self.cluster).items]
        assert not left, f"of ours is left: {left}"

    def connection(self) -> WarpedConnection:
        return WarpedConnection(REGION, self.warp)

    def _trouble(self) -> None:
        """What AWS does on one day: refuses, loses answers, and lets one creation fail."""
        self.aws.admin("DELETE", "faults")
        for kind, share in (("throttle", 0.03), ("lost", 0.02), ("transient", 0.01)):
            self.aws.admin("POST", "faults", {"kind": kind, "share": share, "seed": self.dice.randrange(10**6)})
        service, operation = self.dice.choice(FAILING)
        self.aws.admin("POST", "faults", {"kind": "fails", "service": service, "operation": operation, "count": 1})

    def _until_done(self, run: Callable[[], Any]) -> None:
        """Runs until one succeeds, as a person or a schedule repeats them; on some days a quota is raised after the first."""
        limited = self.dice.choice([*LIMITS, ""])
        if limited:
            self._limit(limited, LIMITS[limited][0])
        said: list[str] = []
        for __ in range(_TRIES):
            self.runs += 1
            try:
                run()
                return
            except LlmOnEksError as error:
                said.append(str(error))
                self.connection().sleep(_BETWEEN_S)
            finally:
                if limited:
                    self._limit(limited, LIMITS[limited][1])
        raise AssertionError("somebody would have to mend this:\n" + "\n".join(said))

    def _limit(self, code: str, value: int) -> None:
        self.aws.admin("PUT", f"quotas/{REGION}/{code}", {"value": value})


class WalkedWeek(Week):
    """AWS's part by itself, one resource after the other: the same seed is the same week."""

    before: Walk | None = None

    def apply(self, components: Sequence[Component]) -> list[str]:
        walk = Walk.of(self.connection(), self.cluster, components)
        done = walk.apply()
        if self.before:
            walk.prune(self.before)
        self.before = walk
        return done

    def remove(self, components: Sequence[Component], ends: int | None = None) -> None:
        walk = Walk.of(self.connection(), self.cluster, components)
        walk.look()
        list(walk.remove(ends or 10_000))
        self.before = None
