# SPDX-License-Identifier: Apache-2.0
"""Managed node groups. https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html"""

from __future__ import annotations

from typing import Any

from ..base.arguments import flag, given, text, texts
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import Tagging
from .access_entry import EksAccessEntry
from .base import ROLE_UNKNOWN, EksMember, newer

_TAINT = {
    "key": text(required=True),
    "value": text(),
    "effect": text(required=True, choices=["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"]),
}
_BAD = frozenset({"CREATE_FAILED", "DELETE_FAILED", "DEGRADED"})
_NUMBER: dict[str, Any] = {"type": "int"}


class EksNodegroup(EksMember):
    """A node group. A change of an immutable field, for example of the instance types, means a new group.

    With `ami_type` CUSTOM the image is the launch template's, and EKS takes neither version nor release of it.
    """

    kind = "eks_nodegroup"
    stands_on = (*("eks_cluster", "iam_role", "ec2_subnet", "ec2_route_table", "ec2_endpoint", "ec2_launch_template"),)
    carries_traffic = True
    rolling = ("version", "releaseVersion", "launchTemplate")
    listing = ("list_nodegroups", "nodegroups", "")
    describing = ("describe_nodegroup", "nodegroup")
    name_in = "nodegroupName"
    tagging = Tagging("resourceArn", "nodegroupArn", tags="tags", keys="tagKeys", form="map")
    passing = ROLE_UNKNOWN
    noun = "EKS node group"
    key = ("cluster", "name")
    timeout_s = 2400
    produces = ("name", "arn", "auto_scaling_group")
    arguments = {
        "cluster": text(required=True),
        "name": text(required=True),
        "role_arn": text(),
        "subnet_ids": texts(),
        "instance_types": texts(),
        "ami_type": text(default="AL2023_x86_64_STANDARD"),
        "capacity_type": text(default="ON_DEMAND", choices=["ON_DEMAND", "SPOT", "CAPACITY_BLOCK"]),
        "disk_size": _NUMBER,
        "min_size": {"type": "int", "default": 1},
        "max_size": {"type": "int", "default": 3},
        "desired_size": _NUMBER,
        "labels": {"type": "dict"},
        "taints": {"type": "list", "elements": "dict", "options": _TAINT, "default": []},
        "version": text(),
        "release_version": text(),
        "launch_template": {"type": "dict", "options": {"id": text(), "name": text(), "version": text()}},
        "max_unavailable": _NUMBER,
        "max_unavailable_percentage": _NUMBER,
        "update_strategy": text(choices=["DEFAULT", "MINIMAL"]),
        "node_repair": flag(),
        "force_update": flag(False),
    }

    @property
    def rules(self) -> Rules:  # type: ignore[override]
        """EKS takes no other launch template than the one that a group was made with, only its next version."""
        replaced = ("amiType", "instanceTypes", "diskSize", "subnets", "nodeRole", "capacityType")
        wanted = self.params["launch_template"] or {}
        have = ((self._current or {}).get("launchTemplate")) or {}
        other = any(wanted.get(key) and wanted[key] != have.get(key) for key in ("id", "name"))
        return Rules(
            replaced=(*replaced, "launchTemplate") if other else replaced,
            unordered=("subnets", "taints"),
            exact=("labels",),
        )

    @property
    def where(self) -> dict[str, str]:
        return {"clusterName": self.params["cluster"], "nodegroupName": self.params["name"]}

    def read(self) -> State:
        found: State = self.call("describe_nodegroup", **self.where)["nodegroup"]
        return found

    def desired(self, current: State | None) -> State:
        p = self.params
        if p["capacity_type"] == "CAPACITY_BLOCK" and not p["launch_template"]:
            raise AwsError(
                f"{self.subject}: capacity_type CAPACITY_BLOCK needs a launch_template that names the reservation; "
                "give one, or take ON_DEMAND"
            )
        template = p["launch_template"] and given(**p["launch_template"])
        update = given(
            maxUnavailable=p["max_unavailable"],
            maxUnavailablePercentage=p["max_unavailable_percentage"],
            updateStrategy=p["update_strategy"],
        )
        return {
            "nodeRole": p["role_arn"],
            "subnets": p["subnet_ids"],
            "instanceTypes": p["instance_types"] or None,
            "amiType": p["ami_type"],
            "capacityType": p["capacity_type"],
            "diskSize": p["disk_size"],
            "scalingConfig": self._scaling(current),
            "labels": p["labels"],
            "taints": [given(**taint) for taint in p["taints"]],
            "version": None if self._is_custom else self._version(current),
            "releaseVersion": None if self._is_custom else p["release_version"],
            "launchTemplate": template or None,
            "updateConfig": update or None,
            "nodeRepairConfig": None if p["node_repair"] is None else {"enabled": p["node_repair"]},
        }

    @property
    def _is_custom(self) -> bool:
        return bool(self.params["ami_type"] == "CUSTOM")

    def _version(self, current: State | None) -> str | None:
        wanted: str | None = self.params["version"]
        return newer(wanted, current["version"]) if current and wanted else wanted

    def _scaling(self, current: State | None) -> State:
        """An autoscaler may own the number of nodes: without a desired size the number stays, within the new bounds."""
        least, most, size = (self.params[key] for key in ("min_size", "max_size", "desired_size"))
        if size is None:
            size = current["scalingConfig"]["desiredSize"] if current else least
            if size is not None and least is not None:
                size = max(size, least)
            if size is not None and most is not None:
                size = min(size, most)
        return given(minSize=least, maxSize=most, desiredSize=size)

    def create(self, desired: State) -> None:
        self._drop_outlived_entry()
        # EKS takes no other version for a new group than the cluster's, which may have been upgraded meanwhile.
        given = {key: value for key, value in desired.items() if key != "version"}
        self.call("create_nodegroup", **self.where, **given, tags=self.tags)

    def _drop_outlived_entry(self) -> None:
        """EKS makes an access entry for the nodes' role, and leaves it when the role goes. It lets in none of a new role of that name.

        https://github.com/aws/containers-roadmap/issues/2631
        """
        given = {"cluster": self.params["cluster"], "principal_arn": self.params["role_arn"], "type": "EC2_LINUX"}
        entry = EksAccessEntry(self.connection, given)
        current = entry.look()
        if current is not None and current["type"] == "EC2_LINUX" and entry.settled(current).is_unmade:
            entry.remove(current)

    def update(self, changed: State, current: State) -> None:
        config: State = {
            key: changed[key] for key in ("scalingConfig", "updateConfig", "nodeRepairConfig") if key in changed
        }
        if "labels" in changed:
            config["labels"] = _labels(current.get("labels") or {}, changed["labels"])
        if "taints" in changed:
            config["taints"] = _taints(current.get("taints") or [], changed["taints"])
        config = {key: value for key, value in config.items() if value}
        if config:
            self._follow(self.call("update_nodegroup_config", **self.where, **config))
        version = {key: changed[key] for key in ("version", "releaseVersion", "launchTemplate") if key in changed}
        if version:
            force = self.params["force_update"]
            self._follow(self.call("update_nodegroup_version", **self.where, **version, force=force))

    def _follow(self, answer: State) -> None:
        self.follow(answer["update"], self.params["cluster"], nodegroupName=self.params["name"])

    def remove(self, current: State) -> None:
        self._steady(current)
        self.call("delete_nodegroup", **self.where)

    def settled(self, current: State) -> Settled:
        issues = (current.get("health") or {}).get("issues", [])
        why = "; ".join(f"{issue['code']}: {issue.get('message', '')}" for issue in issues)
        return Settled(current["status"], bad=_BAD, unmade=frozenset({"CREATE_FAILED"}), why=why)

    def made(self, current: State) -> State:
        groups = (current.get("resources") or {}).get("autoScalingGroups") or [{}]
        return given(
            name=current["nodegroupName"], arn=current["nodegroupArn"], auto_scaling_group=groups[0].get("name")
        )


def _labels(have: dict[str, str], wanted: dict[str, str]) -> State:
    changed = {key: value for key, value in wanted.items() if have.get(key) != value}
    gone = [key for key in have if key not in wanted]
    return {**({"addOrUpdateLabels": changed} if changed else {}), **({"removeLabels": gone} if gone else {})}


def _taints(have: list[State], wanted: list[State]) -> State:
    """A taint is identified by key and effect; only its value can be changed."""
    known = {(taint["key"], taint["effect"]) for taint in wanted}
    changed = [taint for taint in wanted if taint not in have]
    gone = [taint for taint in have if (taint["key"], taint["effect"]) not in known]
    return {**({"addOrUpdateTaints": changed} if changed else {}), **({"removeTaints": gone} if gone else {})}
