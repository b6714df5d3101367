# SPDX-License-Identifier: Apache-2.0
"""Instance profiles. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateInstanceProfile.html"""

from __future__ import annotations

from ..base.arguments import text
from ..base.plan import State
from ..base.resource import AwsResource, tag_list


class IamInstanceProfile(AwsResource):
    """An instance profile with its one role."""

    kind = "iam_instance_profile"
    service, noun = "iam", "IAM instance profile"
    not_found = ("NoSuchEntity",)
    produces = ("name", "arn")
    arguments = {"name": text(required=True), "role": text()}

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

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        if to_set:
            self.call("tag_instance_profile", **self.where, Tags=tag_list(to_set))
        if to_unset:
            self.call("untag_instance_profile", **self.where, TagKeys=to_unset)

    def made(self, current: State) -> State:
        return {"name": current["InstanceProfileName"], "arn": current["Arn"]}
