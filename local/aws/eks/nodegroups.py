# SPDX-License-Identifier: Apache-2.0
"""Managed node groups: a group becomes ACTIVE after a while, and then has EC2 instances, as far as EC2 shows them."""

from __future__ import annotations

from typing import Any

from .. import machines, network
from ..errors import refuse
from ..world import Params, Result, Session, operation
from .access import admit_nodes
from .state import Row, active_cluster_of, cluster_of, row_of, start_update, without_none
from .templates import NOT_JOINED, check_age, check_group, check_processors, check_update, fails_to_start

_CONFIG = ("labels", "taints", "scalingConfig", "updateConfig", "nodeRepairConfig", "warmPoolConfig")


@operation("eks", "CreateNodegroup")
def create_nodegroup(session: Session, params: Params) -> Result:
    cluster = active_cluster_of(session, params)
    name = params["nodegroupName"]
    if name in cluster.nodegroups:
        raise refuse("eks.nodegroup_exists", name=name, cluster=cluster.name)
    template, data = check_group(session, params)
    network.require_role(session, params["nodeRole"], "CreateNodegroup", "ec2")
    network.vpc_of_subnets(session, params["subnets"], zones=1)
    kind = "CUSTOM" if data.get("ImageId") else params.get("amiType") or "AL2023_x86_64_STANDARD"
    if kind != "CUSTOM":
        check_processors(kind, params.get("instanceTypes") or [])
    scaling = {"minSize": 1, "maxSize": 2, "desiredSize": 2} | (params.get("scalingConfig") or {})
    _check_scaling(scaling)
    version = params.get("version") or cluster.row["version"]
    if version != cluster.row["version"]:
        raise refuse("eks.nodegroup_version", version=version, cluster=cluster.row["version"])
    check_age(kind, version)
    row = without_none(
        {
            "nodegroupName": name,
            "nodegroupArn": session.arn("eks", f"nodegroup/{cluster.name}/{name}/{session.uuid()}"),
            "clusterName": cluster.name,
            "version": version,
            "releaseVersion": data.get("ImageId") or params.get("releaseVersion") or f"{version}.4-20260724",
            "createdAt": session.now(),
            "modifiedAt": session.now(),
            "status": "CREATING",
            "capacityType": params.get("capacityType") or "ON_DEMAND",
            "scalingConfig": scaling,
            "instanceTypes": params.get("instanceTypes") or (None if data.get("InstanceType") else ["t3.medium"]),
            "subnets": params["subnets"],
            "remoteAccess": params.get("remoteAccess"),
            "amiType": kind,
            "nodeRole": params["nodeRole"],
            "labels": dict(params.get("labels") or {}),
            "taints": list(params.get("taints") or []),
            "diskSize": params.get("diskSize") or (None if template else 20),
            "health": {"issues": []},
            "updateConfig": params.get("updateConfig") or {"maxUnavailable": 1},
            "nodeRepairConfig": params.get("nodeRepairConfig"),
            "launchTemplate": template or None,
            "tags": dict(params.get("tags") or {}),
        }
    )
    cluster.nodegroups[name] = row

    failure = session.world.fails("eks:CreateNodegroup")
    if not admit_nodes(session, cluster, row["nodeRole"]) and scaling["desiredSize"]:
        failure = failure or NOT_JOINED
    failure = failure or fails_to_start(session, data, row["subnets"], scaling["desiredSize"])

    def active() -> None:
        if failure:
            issue = {"code": failure[0], "message": failure[1], "resourceIds": []}
            row.update(status="CREATE_FAILED", health={"issues": [issue]})
            return
        machines.scale(session, cluster.name, row, data)
        group = f"eks-{name}-{row['nodegroupArn'].rsplit('/', 1)[1]}"
        row.update(status="ACTIVE", resources={"autoScalingGroups": [{"name": group}]})
        for addon in cluster.addons.values():
            if addon["status"] == "DEGRADED":
                addon.update(status="ACTIVE", health={"issues": []})

    session.world.after(session.delay("nodegroup"), active)
    return {"nodegroup": _shown(row)}


def _has_content(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_content, value.values()))
    return value is not None and value != []


def _shown(row: Row) -> Row:
    """AWS omits empty fields: https://github.com/aws/aws-cli/blob/develop/awscli/examples/eks/create-nodegroup.rst"""
    return {key: value for key, value in row.items() if value not in ({}, []) or key == "health"}


def _check_scaling(scaling: Row) -> None:
    if not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        raise refuse("eks.scaling_range", minimum=scaling["minSize"], maximum=scaling["maxSize"])


@operation("eks", "DescribeNodegroup")
def describe_nodegroup(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    return {"nodegroup": _shown(row_of(cluster.nodegroups, "nodegroup", params["nodegroupName"], cluster))}


@operation("eks", "ListNodegroups")
def list_nodegroups(session: Session, params: Params) -> Result:
    return {"nodegroups": sorted(cluster_of(session, params).nodegroups)}


@operation("eks", "UpdateNodegroupConfig")
def update_nodegroup_config(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    row = row_of(cluster.nodegroups, "nodegroup", params["nodegroupName"], cluster)
    _require_active(row)
    if not any(_has_content(params.get(key)) for key in _CONFIG):
        raise refuse("eks.empty_request")
    scaling = row["scalingConfig"] | (params.get("scalingConfig") or {})
    _check_scaling(scaling)
    labels = params.get("labels") or {}
    row["labels"] |= labels.get("addOrUpdateLabels") or {}
    for key in labels.get("removeLabels") or []:
        row["labels"].pop(key, None)
    taints = params.get("taints") or {}
    changed = [*(taints.get("addOrUpdateTaints") or []), *(taints.get("removeTaints") or [])]
    keys = {(taint.get("key"), taint.get("effect")) for taint in changed}
    kept = [taint for taint in row["taints"] if (taint.get("key"), taint.get("effect")) not in keys]
    __, data = check_update(session, row, {})
    machines.scale(session, cluster.name, {**row, "scalingConfig": scaling}, data)
    row.update(
        scalingConfig=scaling, taints=[*kept, *(taints.get("addOrUpdateTaints") or [])], modifiedAt=session.now()
    )
    for key in ("updateConfig", "nodeRepairConfig"):
        if params.get(key):
            row[key] = params[key]
    return {"update": _updating(session, params, row, "ConfigUpdate", {"DesiredSize": scaling["desiredSize"]})}


@operation("eks", "UpdateNodegroupVersion")
def update_nodegroup_version(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    row = row_of(cluster.nodegroups, "nodegroup", params["nodegroupName"], cluster)
    _require_active(row)
    version = params.get("version") or cluster.row["version"]
    if int(version.split(".")[1]) > int(cluster.row["version"].split(".")[1]):
        raise refuse("eks.nodegroup_newer", version=version, cluster=cluster.row["version"])
    template, data = check_update(session, row, params)
    check_age(row["amiType"], version)
    release = data.get("ImageId") or params.get("releaseVersion") or f"{version}.4-20260724"
    row.update(version=version, releaseVersion=release)
    if template:
        row["launchTemplate"] = template
    machines.renew(session, cluster.name, row, data)
    return {"update": _updating(session, params, row, "VersionUpdate", {"Version": version})}


@operation("eks", "DeleteNodegroup")
def delete_nodegroup(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    row = row_of(cluster.nodegroups, "nodegroup", params["nodegroupName"], cluster)
    if row["status"] in ("CREATING", "UPDATING", "DELETING"):
        raise refuse("eks.nodegroup_in_use", name=row["nodegroupName"])
    row["status"] = "DELETING"
    name = row["nodegroupName"]

    def gone() -> None:
        machines.end(session, row["nodegroupArn"])
        cluster.nodegroups.pop(name, None)

    session.world.after(session.delay("nodegroup-delete"), gone)
    return {"nodegroup": _shown(row)}


def _require_active(row: Row) -> None:
    if row["status"] not in ("ACTIVE", "DEGRADED"):
        raise refuse("eks.nodegroup_in_use", name=row["nodegroupName"])


def _updating(session: Session, params: Params, row: Row, kind: str, shown: Row) -> Row:
    cluster = cluster_of(session, params)
    row["status"] = "UPDATING"
    session.world.after(session.delay("nodegroup-update"), lambda: row.update(status="ACTIVE"))
    return start_update(session, cluster, kind, shown, of=("nodegroup", row["nodegroupName"]), delay="nodegroup-update")
