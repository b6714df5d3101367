# SPDX-License-Identifier: Apache-2.0
"""IAM roles. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import given, text, texts
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

# Characters of all inline policies of a role, and of its trust policy, white space not counted.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_INLINE = 10240
_MAX_TRUST = 2048


class IamRole(AwsResource):
    """A role with its managed and inline policies. Policies that are not named are detached.

    `services`: principals that may assume it; pods.eks.amazonaws.com gets sts:TagSession too, which Pod Identity needs.
    """

    kind = "iam_role"
    stands_on = ("iam_policy",)
    carries_traffic = False
    tagging = Tagging("RoleName", "RoleName", "tag_role", "untag_role")
    passing = {"attach_role_policy": ("does not exist or is not attachable",)}
    service, noun = "iam", "IAM role"
    not_found = ("NoSuchEntity",)
    produces = ("name", "arn")
    rules = Rules(
        fixed=("Path",),
        unordered=("managed",),
        exact=("inline",),
        documents=("AssumeRolePolicyDocument",),
    )
    arguments = {
        "name": text(required=True),
        "path": text(),
        "description": text(),
        "services": texts(),
        "trust_policy": {"type": "dict"},
        "managed_policies": texts(default=[]),
        "inline_policies": {"type": "dict", "default": {}},
        "permissions_boundary": text(),
        "max_session_duration": {"type": "int"},
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        # Service-linked roles belong to the account and take no tags of ours.
        rows = [row for row in looker.list("iam", "list_roles", "Roles") if not row["Path"].startswith("/aws-")]

        def tags_of(row: State) -> Any:
            return looker.list("iam", "list_role_tags", "Tags", RoleName=row["RoleName"])

        for row, tags in looker.with_tags(rows, tags_of):
            yield looker.item(cls.kind, row["RoleName"], tags, name=row["RoleName"])

    def read(self) -> State:
        where = {"RoleName": self.params["name"]}
        row: State = self.call("get_role", **where)["Role"]
        row["managed"] = [
            p["PolicyArn"] for p in self.listed("list_attached_role_policies", "AttachedPolicies", **where)
        ]
        names = self.listed("list_role_policies", "PolicyNames", **where)
        row["inline"] = {
            name: _text(self.call("get_role_policy", **where, PolicyName=name)["PolicyDocument"]) for name in names
        }
        row["boundary"] = (row.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn", "")
        return row

    def desired(self, current: State | None) -> State:
        p = self.params
        trust = p["trust_policy"] or (trust_of(p["services"]) if p["services"] else None)
        self._refuse_too_much(trust)
        return {
            "Path": p["path"],
            "Description": p["description"],
            "AssumeRolePolicyDocument": _text(trust) if trust else None,
            "MaxSessionDuration": p["max_session_duration"],
            "managed": [self.connection.aws_policy(name) for name in p["managed_policies"]],
            "inline": {name: _text(document) for name, document in p["inline_policies"].items()},
            "boundary": p["permissions_boundary"],
        }

    def _refuse_too_much(self, trust: Any) -> None:
        """Raises AwsError where IAM's limits are exceeded."""
        inline = sum(size_of(document) for document in self.params["inline_policies"].values())
        for what, size, most, mend in (
            ("inline_policies have", inline, MAX_INLINE, "move some into managed policies"),
            ("the trust policy has", size_of(trust or {}), _MAX_TRUST, "name fewer principals"),
        ):
            if size > most:
                raise AwsError(f"{self.subject}: {what} {size} characters, IAM takes {most}; {mend}")

    def create(self, desired: State) -> None:
        own = ("Path", "Description", "AssumeRolePolicyDocument", "MaxSessionDuration")
        fields = {key: desired[key] for key in own if key in desired}
        boundary = given(PermissionsBoundary=desired.get("boundary"))
        self.call("create_role", RoleName=self.params["name"], **fields, **boundary, Tags=tag_list(self.tags))
        self.update({key: desired[key] for key in ("managed", "inline")}, {"managed": [], "inline": {}})

    def update(self, changed: State, current: State) -> None:
        where = {"RoleName": self.params["name"]}
        if "AssumeRolePolicyDocument" in changed:
            self.call("update_assume_role_policy", **where, PolicyDocument=changed["AssumeRolePolicyDocument"])
        fields = {key: changed[key] for key in ("Description", "MaxSessionDuration") if key in changed}
        if fields:
            self.call("update_role", **where, **fields)
        if changed.get("boundary"):
            self.call("put_role_permissions_boundary", **where, PermissionsBoundary=changed["boundary"])
        for arn in changed.get("managed", []):
            if arn not in current["managed"]:
                self.call("attach_role_policy", **where, PolicyArn=arn)
        for arn in current["managed"] if "managed" in changed else []:
            if arn not in changed["managed"]:
                self.call("detach_role_policy", **where, PolicyArn=arn)
        for name, document in changed.get("inline", {}).items():
            if current["inline"].get(name) != document:
                self.call("put_role_policy", **where, PolicyName=name, PolicyDocument=document)
        for name in current["inline"] if "inline" in changed else []:
            if name not in changed["inline"]:
                self.call("delete_role_policy", **where, PolicyName=name)

    def remove(self, current: State) -> None:
        where = {"RoleName": self.params["name"]}
        for profile in self.listed("list_instance_profiles_for_role", "InstanceProfiles", **where):
            name = profile["InstanceProfileName"]
            self.call("remove_role_from_instance_profile", **where, InstanceProfileName=name)
        self.update({"managed": [], "inline": {}}, current)
        self.call("delete_role", **where)

    def made(self, current: State) -> State:
        return {"name": current["RoleName"], "arn": current["Arn"]}


def trust_of(services: list[str]) -> dict[str, Any]:
    """A trust policy for service principals."""
    statements = []
    for service in services:
        actions = ["sts:AssumeRole", "sts:TagSession"] if service.startswith("pods.eks.") else ["sts:AssumeRole"]
        statements.append({"Effect": "Allow", "Principal": {"Service": service}, "Action": actions})
    return {"Version": "2012-10-17", "Statement": statements}


def size_of(document: Any) -> int:
    """Characters as IAM counts them: without white space."""
    return len("".join(json.dumps(json.loads(_text(document)), separators=(",", ":")).split()))


def _text(document: Any) -> str:
    """A canonical text of a document, whatever the order of its members."""
    data = json.loads(document) if isinstance(document, str) else document
    return json.dumps(data, sort_keys=True)
