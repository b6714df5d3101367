# SPDX-License-Identifier: Apache-2.0
"""Access entries and their policies. https://docs.aws.amazon.com/eks/latest/APIReference/API_AccessEntry.html"""

from __future__ import annotations

import re
from typing import Any

from ..base.arguments import given, text, texts
from ..base.errors import NotFound
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import Tagging
from .base import EksMember

_POLICY = {"policy": text(required=True), "namespaces": texts(default=[])}
_TYPES = ["STANDARD", "EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX"]
# Stands for the identity that runs this: a descriptor cannot know it.
CALLER = "caller"
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/(?:.+/)?([^/]+)")
# States of ours, for an entry has none. One that was made for an earlier role of the same name lets nobody in, and nothing shows
# it but the dates: https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3329
_MADE, _OUTLIVED = "MADE", "OUTLIVED"
_SESSION = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")


class EksAccessEntry(EksMember):
    """Who may use a cluster's API. The session ARN of an assumed role counts as the role, `caller` as the current identity.

    One whose role was deleted and made anew is made anew, too. Policies are given by name (AmazonEKSViewPolicy) or ARN;
    without namespaces they apply to the whole cluster.
    """

    kind = "eks_access_entry"
    stands_on = ("eks_cluster", "iam_role")
    carries_traffic = False
    listing = ("list_access_entries", "accessEntries", "")
    describing = ("describe_access_entry", "accessEntry")
    name_in = "principalArn"
    tagging = Tagging("resourceArn", "accessEntryArn", tags="tags", keys="tagKeys", form="map")
    passing = {"create_access_entry": ("principalArn is invalid",)}
    noun = "EKS access entry"
    not_found = (*EksMember.not_found, "NoSuchEntity")
    key = ("cluster", "principal_arn")
    produces = ("principal_arn", "arn", "username")
    rules = Rules(fixed=("type",), unordered=("kubernetesGroups",), exact=("policies",))
    arguments = {
        "cluster": text(required=True),
        "principal_arn": text(required=True),
        "type": text(default="STANDARD", choices=_TYPES),
        "groups": texts(),
        "username": text(),
        "policies": {"type": "list", "elements": "dict", "options": _POLICY},
    }

    @property
    def where(self) -> dict[str, str]:
        return {"clusterName": self.params["cluster"], "principalArn": self._principal()}

    def _principal(self) -> str:
        """The role of a session. The session's ARN lacks the role's path, so that is looked up."""
        if self.params["principal_arn"] == CALLER:
            self.params["principal_arn"] = self.connection.identity.arn
        found = _SESSION.fullmatch(self.params["principal_arn"])
        if found:
            role = self.call("get_role", service="iam", RoleName=found[3])["Role"]
            self.params["principal_arn"] = role["Arn"]
        return str(self.params["principal_arn"])

    def read(self) -> State:
        found: State = self.call("describe_access_entry", **self.where)["accessEntry"]
        rows = self.listed("list_associated_access_policies", "associatedAccessPolicies", **self.where)
        found["policies"] = {row["policyArn"]: sorted(row["accessScope"].get("namespaces") or []) for row in rows}
        found["state"] = _OUTLIVED if self._outlived(found) else _MADE
        return found

    def _outlived(self, found: State) -> bool:
        role = _ROLE.fullmatch(found["principalArn"])
        if role is None or role[1] != self.connection.identity.account:
            return False
        try:
            made = self.call("get_role", service="iam", RoleName=role[2])["Role"]["CreateDate"]
        except NotFound:
            return False
        return bool(made > found["createdAt"])

    def settled(self, current: State) -> Settled:
        outlived = current["state"] == _OUTLIVED
        why = "it belongs to an earlier role of that name, and lets nobody in" if outlived else ""
        return Settled(current["state"], good=frozenset({_MADE}), unmade=frozenset({_OUTLIVED}), why=why)

    def desired(self, current: State | None) -> State:
        p = self.params
        policies = p["policies"]
        return {
            "type": p["type"],
            "kubernetesGroups": p["groups"],
            "username": p["username"],
            "policies": None
            if policies is None
            else {self._policy(row["policy"]): sorted(row["namespaces"]) for row in policies},
        }

    def _policy(self, name: str) -> str:
        if name.startswith("arn:"):
            return name
        return f"arn:{self.connection.identity.partition}:eks::aws:cluster-access-policy/{name}"

    def create(self, desired: State) -> None:
        rest = {key: value for key, value in desired.items() if key != "policies"}
        self.call("create_access_entry", **self.where, **rest, tags=self.tags)
        self._associate(desired.get("policies") or {}, {})

    def update(self, changed: State, current: State) -> None:
        rest = {key: changed[key] for key in ("kubernetesGroups", "username") if key in changed}
        if rest:
            self.call("update_access_entry", **self.where, **rest)
        if "policies" in changed:
            self._associate(changed["policies"], current["policies"])

    def _associate(self, wanted: dict[str, Any], have: dict[str, Any]) -> None:
        for arn in have:
            if arn not in wanted:
                self.call("disassociate_access_policy", **self.where, policyArn=arn)
        for arn, namespaces in wanted.items():
            if have.get(arn) != namespaces:
                scope = {"type": "namespace", "namespaces": namespaces} if namespaces else {"type": "cluster"}
                self.call("associate_access_policy", **self.where, policyArn=arn, accessScope=scope)

    def remove(self, current: State) -> None:
        self.call("delete_access_entry", **self.where)

    def made(self, current: State) -> State:
        return given(
            principal_arn=current["principalArn"], arn=current["accessEntryArn"], username=current.get("username")
        )
