# SPDX-License-Identifier: Apache-2.0
"""Service-linked roles. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html"""

from __future__ import annotations

from ..base.arguments import text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource


class IamServiceLinkedRole(AwsResource):
    """A role that a service keeps for itself, once per account. It is found by its path, and has no tags at creation."""

    kind = "iam_service_linked_role"
    stands_on = ()
    carries_traffic = False
    tagging = None
    in_census = False
    passing = {}
    service, noun = "iam", "service-linked role"
    not_found = ("NoSuchEntity",)
    key = ("service_name",)
    produces = ("name", "arn")
    rules = Rules()
    arguments = {"service_name": text(required=True), "description": text(), "custom_suffix": text()}

    @property
    def tags(self) -> dict[str, str]:
        return {}

    def read(self) -> State | None:
        path = f"/aws-service-role/{self.params['service_name']}/"
        rows = self.listed("list_roles", "Roles", PathPrefix=path)
        suffix = self.params["custom_suffix"]
        return next(
            (row for row in rows if row["Path"] == path and row["RoleName"].endswith(f"_{suffix}" if suffix else "")),
            None,
        )

    def bearer(self) -> State | None:
        """The role belongs to the account, so nobody else's is an obstacle."""
        return None

    def _refuse_strangers(self, current: State | None) -> None:
        """The role belongs to the account, whoever created it first."""

    def desired(self, current: State | None) -> State:
        return {"Description": self.params["description"]}

    def create(self, desired: State) -> None:
        suffix = {"CustomSuffix": self.params["custom_suffix"]} if self.params["custom_suffix"] else {}
        try:
            name = self.params["service_name"]
            self.call("create_service_linked_role", AWSServiceName=name, **desired, **suffix)
        except AwsError as error:
            if "has been taken" not in str(error):
                raise

    def update(self, changed: State, current: State) -> None:
        self.call("update_role", RoleName=current["RoleName"], Description=changed["Description"])

    def remove(self, current: State) -> None:
        self.call("delete_service_linked_role", RoleName=current["RoleName"])

    def made(self, current: State) -> State:
        return {"name": current["RoleName"], "arn": current["Arn"]}
