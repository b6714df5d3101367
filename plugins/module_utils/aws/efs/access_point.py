# SPDX-License-Identifier: Apache-2.0
"""EFS access points. https://docs.aws.amazon.com/efs/latest/ug/API_CreateAccessPoint.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...names import TAG_NAME
from ..base.arguments import given, text
from ..base.plan import Rules, State
from ..base.tagging import Tagging, own_name, tag_list, tag_map
from .base import EfsResource

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

_NUMBER: dict[str, Any] = {"type": "int"}


class EfsAccessPoint(EfsResource):
    """A folder of a file system with a user of its own. Identified by its name; only its tags can be changed."""

    kind = "efs_access_point"
    stands_on = ("efs_file_system",)
    carries_traffic = True
    tagging = Tagging("ResourceId", "AccessPointId")
    noun = "EFS access point"
    key = ("file_system_id", "name")
    produces = ("id", "arn", "volume_handle")
    rules = Rules(fixed=("PosixUser", "RootDirectory"))
    arguments = {
        "file_system_id": text(required=True),
        "name": text(required=True),
        "uid": _NUMBER,
        "gid": _NUMBER,
        "secondary_gids": {"type": "list", "elements": "int"},
        "path": text(default="/"),
        "owner_uid": _NUMBER,
        "owner_gid": _NUMBER,
        "permissions": text(),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        for row in looker.list("efs", "describe_access_points", "AccessPoints"):
            tags = tag_map(row.get("Tags") or [])
            if looker.ours(tags) and row.get("LifeCycleState") != "deleted":
                state = str(row.get("LifeCycleState") or "")
                yield looker.item(cls.kind, row["AccessPointId"], tags, name=row.get("Name", ""), state=state)

    @property
    def tags(self) -> dict[str, str]:
        name = self.params["name"]
        return {"Name": name, **super().tags, **({TAG_NAME: name} if self.owner else {})}

    def read(self) -> State | None:
        found = self.listed("describe_access_points", "AccessPoints", FileSystemId=self.params["file_system_id"])
        alive = [row for row in found if own_name(self.tags_of(row)) == self.params["name"]]
        return next(iter(sorted(alive, key=lambda row: row["LifeCycleState"] == "deleting")), None)

    def desired(self, current: State | None) -> State:
        p = self.params
        user = given(Uid=p["uid"], Gid=p["gid"], SecondaryGids=p["secondary_gids"])
        owner = p["owner_uid"] if p["owner_uid"] is not None else p["uid"]
        group = p["owner_gid"] if p["owner_gid"] is not None else p["gid"]
        creation = given(OwnerUid=owner, OwnerGid=group, Permissions=p["permissions"])
        return {
            "PosixUser": user or None,
            "RootDirectory": {"Path": p["path"], **({"CreationInfo": creation} if p["permissions"] else {})},
        }

    def create(self, desired: State) -> None:
        p = self.params
        token = f"{p['file_system_id']}-{p['name']}"[:64]
        self.create_once(
            "create_access_point",
            "AccessPointAlreadyExists",
            ClientToken=token,
            FileSystemId=p["file_system_id"],
            **desired,
            Tags=tag_list(self.tags),
        )

    def remove(self, current: State) -> None:
        self.call("delete_access_point", AccessPointId=current["AccessPointId"])

    def made(self, current: State) -> State:
        handle = f"{current['FileSystemId']}::{current['AccessPointId']}"
        return given(id=current["AccessPointId"], arn=current["AccessPointArn"], volume_handle=handle)
