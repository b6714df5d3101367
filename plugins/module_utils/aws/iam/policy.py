# SPDX-License-Identifier: Apache-2.0
"""Customer-managed IAM policies. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicy.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html; white space does not count
MAX_CHARACTERS = 6144
_MAX_VERSIONS = 5


class IamPolicy(AwsResource):
    """A customer-managed policy. IAM keeps five versions: the oldest is deleted when a sixth is needed."""

    kind = "iam_policy"
    stands_on = ()
    carries_traffic = False
    tagging = Tagging("PolicyArn", "Arn", "tag_policy", "untag_policy")
    passing = {}
    service, noun = "iam", "IAM policy"
    not_found = ("NoSuchEntity",)
    produces = ("name", "arn")
    rules = Rules(fixed=("Path", "Description"), documents=("PolicyDocument",))
    arguments = {
        "name": text(required=True),
        "path": text(default="/"),
        "description": text(),
        "document": {"type": "dict"},
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.list("iam", "list_policy_tags", "Tags", PolicyArn=row["Arn"])

        for row, tags in looker.with_tags(looker.list("iam", "list_policies", "Policies", Scope="Local"), tags_of):
            yield looker.item(cls.kind, row["Arn"], tags, name=row["PolicyName"])

    @property
    def where(self) -> dict[str, str]:
        arn = self.connection.arn("iam", f"policy{self.params['path']}{self.params['name']}", regional=False)
        return {"PolicyArn": arn}

    def read(self) -> State:
        row: State = self.call("get_policy", **self.where)["Policy"]
        version = self.call("get_policy_version", **self.where, VersionId=row["DefaultVersionId"])["PolicyVersion"]
        row["PolicyDocument"] = version["Document"]
        return row

    def desired(self, current: State | None) -> State:
        document: Any = self.params["document"]
        shown = json.dumps(document, sort_keys=True, separators=(",", ":")) if document else None
        if shown and len(shown.replace(" ", "")) > MAX_CHARACTERS:
            raise AwsError(
                f"{self.subject}: the document has {len(shown)} characters, IAM takes {MAX_CHARACTERS}; split it in two"
            )
        return {"Path": self.params["path"], "Description": self.params["description"], "PolicyDocument": shown}

    def create(self, desired: State) -> None:
        self.call("create_policy", PolicyName=self.params["name"], **desired, Tags=tag_list(self.tags))

    def update(self, changed: State, current: State) -> None:
        old = [row for row in self._versions() if not row["IsDefaultVersion"]]
        if len(old) >= _MAX_VERSIONS - 1:
            oldest = min(old, key=lambda row: row["CreateDate"])
            self.call("delete_policy_version", **self.where, VersionId=oldest["VersionId"])
        document = changed["PolicyDocument"]
        self.call("create_policy_version", **self.where, PolicyDocument=document, SetAsDefault=True)

    def _versions(self) -> list[Any]:
        return self.listed("list_policy_versions", "Versions", **self.where)

    def remove(self, current: State) -> None:
        for role in self.listed("list_entities_for_policy", "PolicyRoles", **self.where, EntityFilter="Role"):
            self.call("detach_role_policy", **self.where, RoleName=role["RoleName"])
        for row in self._versions():
            if not row["IsDefaultVersion"]:
                self.call("delete_policy_version", **self.where, VersionId=row["VersionId"])
        self.call("delete_policy", **self.where)

    def made(self, current: State) -> State:
        return {"name": current["PolicyName"], "arn": current["Arn"]}
