# SPDX-License-Identifier: Apache-2.0
"""EFS file systems. https://docs.aws.amazon.com/efs/latest/ug/API_CreateFileSystem.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import flag, given, text, texts
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.tagging import Tagging
from ..base.unknown import Unknown
from ..reference.prices import per_hour_of
from .base import EfsResource, marked_systems

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

_AGES = [f"AFTER_{days}_DAY{'S' if days > 1 else ''}" for days in (1, 7, 14, 30, 60, 90, 180, 270, 365)]


class EfsFileSystem(EfsResource):
    """A file system, identified by its creation token, which is its name. Elastic throughput and encryption by default."""

    kind = "efs_file_system"
    stands_on = ("kms_key",)
    carries_traffic = True
    holds = "the files in it"
    tagging = Tagging("ResourceId", "FileSystemId")
    noun = "EFS file system"
    produces = ("id", "arn", "name")
    # A role that was just made: https://github.com/hashicorp/terraform-provider-aws (internal/service/efs/file_system_policy.go)
    passing = {"put_file_system_policy": ("invalid Principal block",)}
    rules = Rules(
        fixed=("Encrypted", "KmsKeyId", "PerformanceMode", "AvailabilityZoneName"),
        exact=("lifecycle",),
        documents=("policy",),
    )
    arguments = {
        "name": text(required=True),
        "encrypted": flag(True),
        "kms_key_arn": text(),
        "performance_mode": text(default="generalPurpose", choices=["generalPurpose", "maxIO"]),
        "throughput_mode": text(default="elastic", choices=["elastic", "bursting", "provisioned"]),
        "provisioned_throughput_mibps": {"type": "float"},
        "availability_zone": text(),
        "backup": flag(),
        "tls_only": flag(),
        "mount_principals": texts(),
        "transition_to_ia": text(choices=_AGES),
        "transition_to_archive": text(choices=_AGES),
        "transition_to_primary": text(choices=["AFTER_1_ACCESS"]),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        for row, tags in marked_systems(looker):
            size = float((row.get("SizeInBytes") or {}).get("Value") or 0)
            yield looker.item(
                *(cls.kind, str(row["FileSystemId"]), tags),
                name=row.get("Name", ""),
                state=str(row["LifeCycleState"]),
                price_per_hour=per_hour_of("efs_gib", size / 2**30),
            )

    def read(self) -> State | None:
        found = self.listed("describe_file_systems", "FileSystems", CreationToken=self.params["name"])
        if not found:
            return None
        row: State = found[0]
        where = {"FileSystemId": row["FileSystemId"]}
        if row["LifeCycleState"] in ("available", "updating"):
            policies = self.call("describe_lifecycle_configuration", **where)["LifecyclePolicies"]
            row["lifecycle"] = {key: value for policy in policies for key, value in policy.items()}
            if self.params["backup"] is not None:
                row["backup"] = self._backup(where)
            if self.params["tls_only"]:
                row["policy"] = self._policy(where)
        return row

    def _policy(self, where: State) -> str:
        try:
            return str(self.call("describe_file_system_policy", **where)["Policy"])
        except AwsError as error:
            if error.code != "PolicyNotFound":
                raise
            return ""

    def _backup(self, where: State) -> bool:
        try:
            status = self.call("describe_backup_policy", **where)["BackupPolicy"]["Status"]
        except AwsError as error:
            if error.code != "PolicyNotFound":
                raise
            return False
        return status in ("ENABLED", "ENABLING")

    def desired(self, current: State | None) -> State:
        p = self.params
        lifecycle = given(
            TransitionToIA=p["transition_to_ia"],
            TransitionToArchive=p["transition_to_archive"],
            TransitionToPrimaryStorageClass=p["transition_to_primary"],
        )
        return {
            "Encrypted": p["encrypted"],
            "KmsKeyId": p["kms_key_arn"],
            "PerformanceMode": p["performance_mode"],
            "ThroughputMode": p["throughput_mode"],
            "ProvisionedThroughputInMibps": p["provisioned_throughput_mibps"],
            "AvailabilityZoneName": p["availability_zone"],
            "lifecycle": lifecycle,
            "backup": p["backup"],
            "policy": json.dumps(self._mounts(current), sort_keys=True) if p["tls_only"] else None,
        }

    def _mounts(self, current: State | None) -> dict[str, Any]:
        return _tls_policy(self._arn(current), list(dict.fromkeys(self.params["mount_principals"] or ())))

    def _arn(self, current: State | None) -> str:
        if current is None:
            return Unknown(f"{self.subject}.arn")
        return str(current.get("FileSystemArn") or "")

    def create(self, desired: State) -> None:
        p = self.params
        fields = {key: value for key, value in desired.items() if key not in ("lifecycle", "backup", "policy")}
        extra = given(Backup=desired.get("backup"))
        once = {"CreationToken": p["name"], "Tags": _tags(p["name"], self.tags)}
        self.create_once("create_file_system", "FileSystemAlreadyExists", **once, **fields, **extra)
        later = {key: desired[key] for key in ("lifecycle",) if desired.get(key)}
        if later or p["tls_only"]:
            current = self.wait()
            policy = self.desired(current)["policy"]
            self.update({**later, **given(policy=policy)}, current)

    def update(self, changed: State, current: State) -> None:
        identifier = current["FileSystemId"]
        if {"ThroughputMode", "ProvisionedThroughputInMibps"} & set(changed):
            wanted = {"ThroughputMode": self.params["throughput_mode"]}
            rate = self.params["provisioned_throughput_mibps"]
            self.call(
                "update_file_system", FileSystemId=identifier, **wanted, **given(ProvisionedThroughputInMibps=rate)
            )
            self.wait()
        if "lifecycle" in changed:
            self._put_lifecycle(identifier, changed["lifecycle"])
        if "policy" in changed:
            self.call("put_file_system_policy", FileSystemId=identifier, Policy=changed["policy"])
        if "backup" in changed:
            status = "ENABLED" if changed["backup"] else "DISABLED"
            self.call("put_backup_policy", FileSystemId=identifier, BackupPolicy={"Status": status})

    def _put_lifecycle(self, identifier: str, lifecycle: State) -> None:
        policies = [{key: value} for key, value in lifecycle.items()]
        self.call("put_lifecycle_configuration", FileSystemId=identifier, LifecyclePolicies=policies)

    def remove(self, current: State) -> None:
        self.call("delete_file_system", FileSystemId=current["FileSystemId"])

    def made(self, current: State) -> State:
        return given(id=current["FileSystemId"], arn=current.get("FileSystemArn"), name=current["CreationToken"])


def _tls_policy(arn: str, principals: list[str]) -> dict[str, Any]:
    """Clients mount and write by TLS through a mount target, and nobody is root there. `principals`: who may; anybody where none is named.

    https://docs.aws.amazon.com/efs/latest/ug/iam-access-control-nfs-efs.html
    """
    who: dict[str, Any] = {"Principal": {"AWS": "*"}, "Resource": arn}
    named = {"Principal": {"AWS": principals}} if principals else {}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                **who,
                **named,
                "Sid": "MountAndWrite",
                "Effect": "Allow",
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Condition": {"Bool": {"elasticfilesystem:AccessedViaMountTarget": "true"}},
            },
            {
                **who,
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Action": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def _tags(name: str, tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {"Name": name, **tags}.items()]
