# SPDX-License-Identifier: Apache-2.0
"""EFS mount targets. https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..base.arguments import given, text, texts
from ..base.errors import AwsError, NotFound
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import tag_map
from .base import EfsResource, marked_systems

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class EfsMountTarget(EfsResource):
    """The address of a file system in one zone. It has no tags: it is ours when its file system is."""

    kind = "efs_mount_target"
    stands_on = ("efs_file_system", "ec2_subnet", "ec2_security_group")
    carries_traffic = True
    tagging = None
    noun = "EFS mount target"
    key = ("file_system_id", "subnet_id")
    produces = ("id", "ip_address")
    rules = Rules(fixed=("IpAddress",), unordered=("SecurityGroups",))
    arguments = {
        "file_system_id": text(required=True),
        "subnet_id": text(required=True),
        "security_group_ids": texts(),
        "ip_address": text(),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        for system, tags in marked_systems(looker):
            identifier = str(system["FileSystemId"])
            try:
                targets = looker.list("efs", "describe_mount_targets", "MountTargets", FileSystemId=identifier)
            except NotFound:
                continue
            for row in targets:
                name, state = f"{identifier}/{row['SubnetId']}", str(row["LifeCycleState"])
                yield looker.item(cls.kind, row["MountTargetId"], tags, name=name, state=state)

    def read(self) -> State | None:
        p = self.params
        found = self.listed("describe_mount_targets", "MountTargets", FileSystemId=p["file_system_id"])
        row: State | None = next((row for row in found if row["SubnetId"] == p["subnet_id"]), None)
        row = row or self._of_the_zone(found)
        if row is None:
            return None
        if self.owner:
            systems = self.listed("describe_file_systems", "FileSystems", FileSystemId=p["file_system_id"])
            row["Tags"] = systems[0]["Tags"] if systems else []
        if row["LifeCycleState"] == "available" and p["security_group_ids"] is not None:
            answer = self.call("describe_mount_target_security_groups", MountTargetId=row["MountTargetId"])
            row["SecurityGroups"] = answer["SecurityGroups"]
        elif p["security_group_ids"] is not None:
            row["SecurityGroups"] = p["security_group_ids"]  # not readable before it is available
        return row

    def _of_the_zone(self, found: list[State]) -> State | None:
        """A file system has one mount target per zone: one in another subnet of the zone serves this subnet, too."""
        if not found:
            return None
        # By a filter: asked by id, EC2 refuses a subnet that was made a moment ago, or that is gone.
        subnet = [{"Name": "subnet-id", "Values": [self.params["subnet_id"]]}]
        rows = self.listed("describe_subnets", "Subnets", service="ec2", Filters=subnet)
        zone = rows[0]["AvailabilityZone"] if rows else ""
        return next((row for row in found if row["AvailabilityZoneName"] == zone), None)

    @property
    def tags(self) -> dict[str, str]:
        return {}

    def tags_of(self, current: State) -> dict[str, str]:
        return tag_map(current.get("Tags") or [])

    def settled(self, current: State) -> Settled:
        return replace(super().settled(current), unmade=frozenset({"error"}))

    def desired(self, current: State | None) -> State:
        return {"SecurityGroups": self.params["security_group_ids"], "IpAddress": self.params["ip_address"]}

    def create(self, desired: State) -> None:
        p = self.params
        try:
            self.call("create_mount_target", FileSystemId=p["file_system_id"], SubnetId=p["subnet_id"], **desired)
        except AwsError as error:
            # Another one in the same zone was created at the same time.
            if error.code != "MountTargetConflict" or self.look() is None:
                raise

    def update(self, changed: State, current: State) -> None:
        self.call(
            "modify_mount_target_security_groups",
            MountTargetId=current["MountTargetId"],
            SecurityGroups=changed["SecurityGroups"],
        )

    def remove(self, current: State) -> None:
        try:
            self.call("delete_mount_target", MountTargetId=current["MountTargetId"])
        except NotFound:
            return

    def made(self, current: State) -> State:
        return given(id=current["MountTargetId"], ip_address=current.get("IpAddress"))
