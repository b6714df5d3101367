# SPDX-License-Identifier: Apache-2.0
"""Add-ons: versions by Kubernetes version, configuration held against its schema, identity. Catalogue: data/eks_addons.json."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml

from ..errors import refuse
from ..world import Params, Result, Session, operation
from .identity import associate
from .state import Cluster, Row, active_cluster_of, cluster_of, row_of, start_update, without_none
from .versions import known_versions

_DATA = Path(__file__).parent.parent / "data" / "eks_addons.json"


@functools.cache
def _catalogue() -> dict[str, Row]:
    table: dict[str, Row] = json.loads(_DATA.read_text())["addons"]
    return table


def versions_of(name: str, kubernetes: str) -> list[str]:
    """Newest first. The second newest is the default, as it mostly is at AWS."""
    minor = int(kubernetes.split(".")[1])
    major, base = _catalogue()[name]["version"].split(".")
    return [f"v{major}.{int(base) + minor - 31}.{patch}-eksbuild.1" for patch in (2, 1, 0)]


def default_version(name: str, kubernetes: str) -> str:
    return versions_of(name, kubernetes)[1]


def _schema(name: str) -> Row:
    return {"$schema": "http://json-schema.org/draft-06/schema#", **_node(_catalogue()[name]["configuration"])}


def _node(known: Any) -> Row:
    """A JSON schema from a short form.

    A word is the type of a value, `object` accepts every member; a map accepts just these members, at every depth.
    """
    if isinstance(known, str):
        return {"type": known}
    properties = {key: _node(inner) for key, inner in known.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


@operation("eks", "DescribeAddonVersions")
def describe_addon_versions(session: Session, params: Params) -> Result:
    wanted = params.get("kubernetesVersion")
    if params.get("addonName") and params["addonName"] not in _catalogue():
        raise refuse("eks.addon_unsupported", name=params["addonName"])
    rows = []
    for name, known in _catalogue().items():
        if params.get("addonName", name) != name:
            continue
        by_version: dict[str, list[Row]] = {}
        for kubernetes in known_versions():
            for version in versions_of(name, kubernetes):
                default = version == default_version(name, kubernetes)
                by_version.setdefault(version, []).append(
                    {"clusterVersion": kubernetes, "platformVersions": ["*"], "defaultVersion": default}
                )
        shown = [
            {
                "addonVersion": version,
                "architecture": ["amd64", "arm64"],
                "computeTypes": ["ec2"],
                "compatibilities": [row for row in fits if wanted in (None, row["clusterVersion"])],
                "requiresConfiguration": False,
                "requiresIamPermissions": bool(known["accounts"]),
            }
            for version, fits in reversed(by_version.items())
        ]
        shown = [row for row in shown if row["compatibilities"]]
        rows.append(
            {
                "addonName": name,
                "type": known["type"],
                "addonVersions": sorted(shown, key=_order, reverse=True),
                "publisher": "eks",
                "owner": known["owner"],
            }
        )
    return {"addons": rows}


def _order(row: Row) -> list[int]:
    text: str = row["addonVersion"]
    return [int(part) for part in text[1:].split("-")[0].split(".")]


@operation("eks", "DescribeAddonConfiguration")
def describe_addon_configuration(session: Session, params: Params) -> Result:
    name = params["addonName"]
    if name not in _catalogue():
        raise refuse("eks.addon_unsupported", name=name)
    accounts = _catalogue()[name]["accounts"]
    return {
        "addonName": name,
        "addonVersion": params["addonVersion"],
        "configurationSchema": json.dumps(_schema(name)),
        "podIdentityConfiguration": [
            {"serviceAccount": account, "recommendedManagedPolicies": policies}
            for account, policies in accounts.items()
        ],
    }


@operation("eks", "CreateAddon")
def create_addon(session: Session, params: Params) -> Result:
    cluster = active_cluster_of(session, params)
    name = params["addonName"]
    if name not in _catalogue():
        raise refuse("eks.addon_unsupported", name=name)
    if name in cluster.addons:
        raise refuse("eks.addon_exists")
    version = params.get("addonVersion") or default_version(name, cluster.row["version"])
    _check(name, version, cluster, params.get("configurationValues"))
    arn = session.arn("eks", f"addon/{cluster.name}/{name}/{session.uuid()}")
    associations = [_own(session, cluster, name, arn, row) for row in params.get("podIdentityAssociations") or []]
    row = without_none(
        {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "CREATING",
            "addonVersion": version,
            "health": {"issues": []},
            "addonArn": arn,
            "createdAt": session.now(),
            "modifiedAt": session.now(),
            "serviceAccountRoleArn": params.get("serviceAccountRoleArn"),
            "tags": dict(params.get("tags") or {}),
            "publisher": "eks",
            "owner": _catalogue()[name]["owner"],
            "configurationValues": params.get("configurationValues") or None,
            "podIdentityAssociations": associations,
            "namespaceConfig": params.get("namespaceConfig"),
        }
    )
    cluster.addons[name] = row

    def up() -> None:
        if _catalogue()[name]["needs_nodes"] and not any(g["status"] == "ACTIVE" for g in cluster.nodegroups.values()):
            issue = {
                "code": "InsufficientNumberOfReplicas",
                "message": "The add-on is unhealthy because it doesn't have the desired number of replicas.",
            }
            row.update(status="DEGRADED", health={"issues": [issue]})
        else:
            row["status"] = "ACTIVE"

    failure = session.world.fails("eks:CreateAddon")
    if failure:
        issue = {"code": failure[0], "message": failure[1]}
        session.world.after(
            session.delay("addon"), lambda: row.update(status="CREATE_FAILED", health={"issues": [issue]})
        )
        return {"addon": row}
    session.world.after(session.delay("addon"), up)
    return {"addon": row}


def _own(session: Session, cluster: Cluster, name: str, arn: str, given: Row) -> str:
    """An association that belongs to the add-on; its ARN."""
    namespace = _catalogue()[name]["namespace"]
    return str(associate(session, cluster, {**given, "namespace": namespace}, owner_arn=arn)["associationArn"])


def _check(name: str, version: str, cluster: Cluster, configuration: str | None) -> None:
    if version not in versions_of(name, cluster.row["version"]):
        raise refuse("eks.addon_version", version=version)
    if configuration:
        try:
            document: Any = yaml.safe_load(configuration)
            jsonschema.validate(document, _schema(name))
        except (yaml.YAMLError, jsonschema.ValidationError) as error:
            reason = str(getattr(error, "message", error))
            raise refuse("eks.addon_configuration", reason=reason) from None


@operation("eks", "DescribeAddon")
def describe_addon(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    return {"addon": row_of(cluster.addons, "addon", params["addonName"], cluster)}


@operation("eks", "ListAddons")
def list_addons(session: Session, params: Params) -> Result:
    return {"addons": sorted(cluster_of(session, params).addons)}


@operation("eks", "UpdateAddon")
def update_addon(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    name = params["addonName"]
    row = row_of(cluster.addons, "addon", name, cluster)
    if row["status"] in ("CREATING", "UPDATING", "DELETING"):
        raise refuse("eks.addon_in_use", name=name)
    _check(name, params.get("addonVersion") or row["addonVersion"], cluster, params.get("configurationValues"))
    if "podIdentityAssociations" in params:
        for identifier in [i for i, r in cluster.associations.items() if r.get("ownerArn") == row["addonArn"]]:
            del cluster.associations[identifier]
        wanted = params["podIdentityAssociations"] or []
        row["podIdentityAssociations"] = [_own(session, cluster, name, row["addonArn"], given) for given in wanted]
    for key in ("addonVersion", "serviceAccountRoleArn", "configurationValues"):
        if params.get(key) is not None:
            row[key] = params[key]
    back = "ACTIVE" if row["status"] != "DEGRADED" else "DEGRADED"
    row.update(status="UPDATING", modifiedAt=session.now())
    session.world.after(session.delay("addon"), lambda: row.update(status=back))
    shown = {"AddonVersion": row["addonVersion"]}
    return {"update": start_update(session, cluster, "AddonUpdate", shown, of=("addon", name), delay="addon")}


@operation("eks", "DeleteAddon")
def delete_addon(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    name = params["addonName"]
    row = row_of(cluster.addons, "addon", name, cluster)
    if row["status"] == "DELETING":
        raise refuse("eks.addon_deleting", name=name)
    row["status"] = "DELETING"

    def gone() -> None:
        cluster.addons.pop(name, None)
        for identifier in [i for i, r in cluster.associations.items() if r.get("ownerArn") == row["addonArn"]]:
            del cluster.associations[identifier]

    session.world.after(session.delay("addon-delete"), gone)
    return {"addon": row}
