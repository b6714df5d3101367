# SPDX-License-Identifier: Apache-2.0
"""Instance profiles. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateInstanceProfile.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import text
from ..base.plan import State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class IamInstanceProfile(AwsResource):
    """An instance profile with its one role."""

    kind = "iam_instance_profile"
    stands_on = ("iam_role",)
    carries_traffic = False
    tagging = Tagging("InstanceProfileName", "InstanceProfileName", "tag_instance_profile", "untag_instance_profile")
    passing = {}
    service, noun = "iam", "IAM instance profile"
    not_found = ("NoSuchEntity",)
    produces = ("name", "arn")
    arguments = {"name": text(required=True), "role": text()}

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            given = {"InstanceProfileName": row["InstanceProfileName"]}
            return looker.call("iam", "get_instance_profile", **given)["InstanceProfile"].get("Tags") or []

        rows = looker.list("iam", "list_instance_profiles", "InstanceProfiles")
        for row, tags in looker.with_tags(rows, tags_of):
            yield looker.item(cls.kind, row["InstanceProfileName"], tags, name=row["InstanceProfileName"])

    @property
    def where(self) -> dict[str, str]:
        return {"InstanceProfileName": self.params["name"]}

    def read(self) -> State:
        row: State = self.call("get_instance_profile", **self.where)["InstanceProfile"]
        row["role"] = next((role["RoleName"] for role in row["Roles"]), "")
        return row

    def desired(self, current: State | None) -> State:
        return {"role": self.params["role"]}

    def create(self, desired: State) -> None:
        self.call("create_instance_profile", **self.where, Tags=tag_list(self.tags))
        self.update(desired, {"role": ""})

    def update(self, changed: State, current: State) -> None:
        if current["role"]:
            self.call("remove_role_from_instance_profile", **self.where, RoleName=current["role"])
        if changed.get("role"):
            self.call("add_role_to_instance_profile", **self.where, RoleName=changed["role"])

    def remove(self, current: State) -> None:
        self.update({}, current)
        self.call("delete_instance_profile", **self.where)

    def made(self, current: State) -> State:
        return {"name": current["InstanceProfileName"], "arn": current["Arn"]}
