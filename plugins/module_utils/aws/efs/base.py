# SPDX-License-Identifier: Apache-2.0
"""What all EFS resources share: tags on a resource id, and life-cycle states."""

from __future__ import annotations

from ..base.plan import State
from ..base.resource import AwsResource, Settled, tag_list


class EfsResource(AwsResource):
    """A resource of the EFS API."""

    service = "efs"
    not_found = ("FileSystemNotFound", "MountTargetNotFound", "AccessPointNotFound")

    def settled(self, current: State) -> Settled:
        return Settled(current["LifeCycleState"], good=frozenset({"available"}), bad=frozenset({"error"}))

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        identifier = current.get("AccessPointId") or current["FileSystemId"]
        if to_set:
            self.call("tag_resource", ResourceId=identifier, Tags=tag_list(to_set))
        if to_unset:
            self.call("untag_resource", ResourceId=identifier, TagKeys=to_unset)
