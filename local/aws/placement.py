# SPDX-License-Identifier: Apache-2.0
"""Placement groups, which moto lacks, and what EC2 refuses of them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2 import utils as ec2_utils

from . import network
from .errors import refuse
from .world import Params, Result, Session, operation

ec2_utils.EC2_RESOURCE_TO_PREFIX["placement-group"] = "pg"
ec2_utils.EC2_PREFIX_TO_RESOURCE["pg"] = "placement-group"


def _groups(session: Session) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = session.store("placement groups", dict)
    return found


def strategy_of(session: Session, name: str) -> str:
    """Raises Refusal for a group that does not exist."""
    if name not in _groups(session):
        raise refuse("ec2.no_placement_group", name=name)
    return str(_groups(session)[name]["Strategy"])


@operation("ec2", "CreatePlacementGroup")
def create_placement_group(session: Session, params: Params) -> Result:
    name = params["GroupName"]
    if name in _groups(session):
        raise refuse("ec2.placement_group_exists", name=name)
    identifier = session.identifier("pg-")
    _groups(session)[name] = {
        "GroupName": name,
        "GroupId": identifier,
        "GroupArn": session.arn("ec2", f"placement-group/{name}"),
        "Strategy": params.get("Strategy") or "cluster",
        "State": "available",
        **({"PartitionCount": params["PartitionCount"]} if params.get("PartitionCount") else {}),
    }
    tags = {tag["Key"]: tag["Value"] for one in params.get("TagSpecifications") or [] for tag in one["Tags"]}
    if tags:
        network.ec2(session).create_tags([identifier], tags)
    return {"PlacementGroup": _shown(session, _groups(session)[name])}


def _shown(session: Session, row: dict[str, Any]) -> dict[str, Any]:
    found = network.ec2(session).describe_tags({"resource-id": [row["GroupId"]]})
    return {**row, "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in found]}


@operation("ec2", "DescribePlacementGroups")
def describe_placement_groups(session: Session, params: Params) -> Result:
    for name in params.get("GroupNames") or []:
        strategy_of(session, name)
    rows = [_shown(session, row) for row in _groups(session).values()]
    wanted = {one["Name"]: one["Values"] for one in params.get("Filters") or []}
    if params.get("GroupNames"):
        wanted["group-name"] = params["GroupNames"]
    return {"PlacementGroups": [row for row in rows if all(_fits(row, key, wanted[key]) for key in wanted)]}


def _fits(row: dict[str, Any], key: str, values: list[str]) -> bool:
    if key.startswith("tag:"):
        return any(tag["Key"] == key[4:] and tag["Value"] in values for tag in row["Tags"])
    member = {"group-name": "GroupName", "strategy": "Strategy", "state": "State", "group-id": "GroupId"}[key]
    return str(row[member]) in values


@operation("ec2", "DeletePlacementGroup")
def delete_placement_group(session: Session, params: Params) -> Result:
    name = params["GroupName"]
    strategy_of(session, name)
    instances = [one for each in network.ec2(session).reservations.values() for one in each.instances]
    if any(getattr(one, "placement_group", "") == name and one.state != "terminated" for one in instances):
        raise refuse("ec2.placement_group_in_use", name=name)
    row = _groups(session).pop(name)
    tags = network.ec2(session).describe_tags({"resource-id": [row["GroupId"]]})
    network.ec2(session).delete_tags([row["GroupId"]], {tag["key"]: tag["value"] for tag in tags})
    return {}
