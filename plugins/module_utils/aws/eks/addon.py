# SPDX-License-Identifier: Apache-2.0
"""EKS add-ons. https://docs.aws.amazon.com/eks/latest/APIReference/API_Addon.html"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.arguments import flag, given, text
from ..base.errors import AwsError, NotFound
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import Tagging
from ..base.unknown import Unknown, is_unknown
from .base import ROLE_UNKNOWN, EksMember, newer

_ASSOCIATION = {"service_account": text(required=True), "role_arn": text(required=True)}


class EksAddon(EksMember):
    """An add-on. `version`: default (the cluster version's own), latest, or one by name."""

    kind = "eks_addon"
    stands_on = ("eks_cluster", "iam_role")
    carries_traffic = True
    listing = ("list_addons", "addons", "")
    describing = ("describe_addon", "addon")
    name_in = "addonName"
    tagging = Tagging("resourceArn", "addonArn", tags="tags", keys="tagKeys", form="map")
    passing = ROLE_UNKNOWN
    noun = "EKS add-on"
    key = ("cluster", "name")
    timeout_s = 900
    produces = ("name", "arn", "version")
    rules = Rules(
        unordered=("podIdentityAssociations",), documents=("configurationValues",), fixed=("namespaceConfig",)
    )
    arguments = {
        "cluster": text(required=True),
        "name": text(required=True),
        "version": text(default="default"),
        "kubernetes_version": text(),
        "configuration": {"type": "dict"},
        "pod_identity": {"type": "list", "elements": "dict", "options": _ASSOCIATION},
        "service_account_role_arn": text(),
        "namespace": text(),
        "conflicts": text(default="OVERWRITE", choices=["NONE", "OVERWRITE", "PRESERVE"]),
        "preserve": flag(False),
    }

    @property
    def where(self) -> dict[str, str]:
        return {"clusterName": self.params["cluster"], "addonName": self.params["name"]}

    def read(self) -> State:
        found: State = self.call("describe_addon", **self.where)["addon"]
        arns = found.get("podIdentityAssociations") or []
        found["podIdentityAssociations"] = [self._association(arn) for arn in arns]
        return found

    def _association(self, arn: str) -> State:
        row = self.call(
            "describe_pod_identity_association",
            clusterName=self.params["cluster"],
            associationId=arn.rsplit("/", 1)[1],
        )["association"]
        return {"serviceAccount": row["serviceAccount"], "roleArn": row["roleArn"]}

    def desired(self, current: State | None) -> State:
        p = self.params
        accounts = p["pod_identity"]
        version = self._version(current)
        if p["configuration"] and not is_unknown(version):
            self._check_configuration(version)
        return {
            "addonVersion": version,
            "configurationValues": None
            if p["configuration"] is None
            else json.dumps(p["configuration"], sort_keys=True),
            "podIdentityAssociations": None
            if accounts is None
            else [{"serviceAccount": row["service_account"], "roleArn": row["role_arn"]} for row in accounts],
            "serviceAccountRoleArn": p["service_account_role_arn"],
            "namespaceConfig": {"namespace": p["namespace"]} if p["namespace"] else None,
        }

    def _check_configuration(self, version: str) -> None:
        """Raises AwsError for a member that the add-on's schema does not have: EKS would refuse the whole configuration."""
        name = self.params["name"]
        try:
            answer = self.call("describe_addon_configuration", addonName=name, addonVersion=version)
        except NotFound:
            return
        schema = json.loads(answer.get("configurationSchema") or "{}")
        strange = list(unknown_members(self.params["configuration"], schema, schema))
        if strange:
            path, known = strange[0]
            raise AwsError(
                f"{self.subject}: configuration {path} is not in the schema of version {version}; "
                f"it has {_some(sorted(known))} there: leave {path.rpartition('.')[2]} out"
            )

    def _version(self, current: State | None) -> str:
        wanted: str = self.params["version"]
        if wanted not in ("default", "latest"):
            return wanted
        kubernetes = newer(self.params["kubernetes_version"] or "", self._running())
        if not kubernetes:
            return Unknown("version of the cluster")
        name = self.params["name"]
        try:
            found = self.listed("describe_addon_versions", "addons", addonName=name, kubernetesVersion=kubernetes)
        except NotFound:
            return Unknown("versions of the add-on")
        version = pick_version(found, kubernetes, wanted)
        if not version:
            raise AwsError(f"{self.subject}: no version for Kubernetes {kubernetes}; choose another add-on or version")
        return version

    def _running(self) -> str:
        """The cluster's version; empty where there is none yet."""
        if is_unknown(self.params["cluster"]):
            return ""
        try:
            return str(self.call("describe_cluster", name=self.params["cluster"])["cluster"]["version"])
        except NotFound:
            return ""

    def create(self, desired: State) -> None:
        conflicts = self.params["conflicts"].replace("PRESERVE", "OVERWRITE")
        self.call(
            "create_addon",
            **self.where,
            **desired,
            resolveConflicts=conflicts,
            tags=self.tags,
        )

    def update(self, changed: State, current: State) -> None:
        # Sent with every update: an omitted value falls back to the add-on's default.
        wanted = self.desired(current)
        kept = {
            key: wanted[key] for key in ("addonVersion", "configurationValues", "serviceAccountRoleArn") if wanted[key]
        }
        answer = self.call(
            "update_addon", **self.where, **{**kept, **changed}, resolveConflicts=self.params["conflicts"]
        )
        self.follow(answer["update"], self.params["cluster"], addonName=self.params["name"])

    def remove(self, current: State) -> None:
        self.call("delete_addon", **self.where, preserve=self.params["preserve"])

    def settled(self, current: State) -> Settled:
        issues = (current.get("health") or {}).get("issues", [])
        why = "; ".join(f"{issue.get('code')}: {issue.get('message', '')}" for issue in issues)
        bad = {"CREATE_FAILED", "UPDATE_FAILED", "DELETE_FAILED"}
        # Before there are nodes every Deployment lacks its replicas: that is temporary.
        if any(issue.get("code") != "InsufficientNumberOfReplicas" for issue in issues):
            bad |= {"DEGRADED"}
        unmade = frozenset({"CREATE_FAILED"})
        return Settled(current["status"], bad=frozenset(bad), unmade=unmade, why=why)

    def made(self, current: State) -> State:
        return given(name=current["addonName"], arn=current["addonArn"], version=current["addonVersion"])


def unknown_members(given: Any, schema: Any, whole: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Paths that a JSON schema does not allow, each with the members allowed there. Pure; `whole` resolves its references."""
    for __ in range(9):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not reference:
            break
        schema = functools.reduce(lambda at, step: at.get(step, {}), reference.removeprefix("#/").split("/"), whole)
    if not isinstance(given, Mapping) or not isinstance(schema, Mapping):
        return
    known = schema.get("properties") or {}
    for key, value in given.items():
        here = f"{path}.{key}".lstrip(".")
        if key in known:
            yield from unknown_members(value, known[key], whole, here)
        elif schema.get("additionalProperties") is False and not schema.get("patternProperties"):
            yield here, list(known)


def pick_version(addons: list[Any], kubernetes: str, wanted: str) -> str:
    """The default or the latest version for a Kubernetes version, from DescribeAddonVersions (newest first); "" for none."""
    fitting = [
        (version["addonVersion"], fit.get("defaultVersion", False))
        for addon in addons
        for version in addon["addonVersions"]
        for fit in version["compatibilities"]
        if fit["clusterVersion"] == kubernetes
    ]
    if wanted == "latest":
        return fitting[0][0] if fitting else ""
    return next((version for version, default in fitting if default), fitting[0][0] if fitting else "")


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "") or "nothing"
