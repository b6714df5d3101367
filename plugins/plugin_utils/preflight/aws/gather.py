# SPDX-License-Identifier: Apache-2.0
"""Asks AWS for all facts, in parallel. Nothing is changed. A refusal is noted, and the other facts are still gathered."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ....module_utils.aws.base.connection import Connection
from ....module_utils.aws.base.errors import AwsError, NotFound
from ....module_utils.aws.base.tagging import tag_map
from ....module_utils.aws.catalog import RESOURCES
from ....module_utils.aws.reference.quotas import COUNTS, QUOTAS, quota_key
from ....module_utils.aws.survey import lookups, simulation
from ....module_utils.aws.survey.lookups import ask
from ....module_utils.names import TAG_CLUSTER
from .described import Name
from .facts import Cluster, Facts, Peering, Subnet, Taken, Vpc
from .wanted import Wanted

_SIDE_BY_SIDE = 12
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
SPOT_ROLE = "AWSServiceRoleForEC2Spot"


def gather(connection: Connection, wanted: Wanted, policy: Path) -> Facts:
    """The answers of AWS. `policy`: file with the permissions that are needed. Raises AwsError without valid credentials."""
    me = connection.identity
    refused: dict[str, str] = {}
    asked: dict[str, Callable[[], Any]] = {
        "permissions": lambda: _denied(connection, wanted, policy),
        "zones": lambda: _zones(connection),
        "offers": lambda: tuple(_offers(connection, wanted)),
        "vCPUs in use": lambda: lookups.vcpus_in_use(connection, wanted.cluster),
        "Kubernetes versions": lambda: tuple(lookups.cluster_versions(connection)),
        "cluster": lambda: _cluster(connection, wanted.cluster),
        "networks": lambda: _vpcs(connection),
        "peerings": lambda: _peerings(connection),
        "quotas of addresses and VPCs": lambda: _counts(connection, wanted),
    }
    if wanted.network.vpc_id:
        asked["subnets"] = lambda: _subnets(connection, wanted.network.vpc_id)
    if wanted.karpenter_spot:
        asked["spot instances' role"] = lambda: _has_role(connection, SPOT_ROLE)
    if wanted.state_bucket:
        asked["bucket"] = lambda: _bucket(connection, wanted.state_bucket)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        parts = {topic: pool.submit(question) for topic, question in asked.items()}
        quotas = {key: pool.submit(_quota, connection, key) for key in _families(wanted)}
        names = [(name, pool.submit(_taken, connection, name)) for name in wanted.names]
        found = {topic: _result(part, topic, refused) for topic, part in parts.items()}
        limits = {key: _result(part, f"quota of {key[0]} instances, {key[1]}", refused) for key, part in quotas.items()}
        taken = [_result(part, f"name {name.name} ({name.kind})", refused) for name, part in names]
    return Facts(
        account=me.account,
        caller=me.arn,
        today=datetime.datetime.now(datetime.UTC).date(),
        denied=found["permissions"],
        zones=found["zones"],
        offers=found["offers"],
        quotas={key: value for key, value in limits.items() if value is not None},
        in_use=found["vCPUs in use"],
        counts=found["quotas of addresses and VPCs"],
        versions=found["Kubernetes versions"],
        cluster=found["cluster"],
        vpcs=found["networks"],
        subnets=found.get("subnets"),
        peerings=found["peerings"],
        taken=tuple(each for each in taken if each is not None),
        bucket=found.get("bucket") or "",
        spot_role=found.get("spot instances' role"),
        hugging_face_token=has_hugging_face_token(os.environ),
        refused=refused,
    )


def has_hugging_face_token(environment: Mapping[str, str]) -> bool:
    """Whether huggingface_hub would find a token here. https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables"""
    if environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    home = Path(environment.get("HF_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".cache/huggingface")
    return Path(environment.get("HF_TOKEN_PATH") or home / "token").is_file()


def _result(part: Future[Any], topic: str, refused: dict[str, str]) -> Any:
    try:
        return part.result()
    except AwsError as error:
        refused[topic] = str(error)
        return None


def _denied(connection: Connection, wanted: Wanted, policy: Path) -> dict[str, str]:
    actions = simulation.needed(json.loads(policy.read_text(encoding="utf-8")))
    return simulation.denied(connection, actions, wanted.cluster)


def _zones(connection: Connection) -> dict[str, str]:
    rows = ask(connection, "zones", "ec2", "describe_availability_zones", "AvailabilityZones")
    return {
        row["ZoneName"]: row.get("ZoneId", "")
        for row in rows
        if row.get("ZoneType", "availability-zone") == "availability-zone"
    }


def _offers(connection: Connection, wanted: Wanted) -> list[lookups.Offering]:
    types = wanted.instance_types
    return lookups.offerings(connection, types, wanted.prices) if types else []


def _families(wanted: Wanted) -> list[tuple[str, str]]:
    """The quotas that matter."""
    groups = {quota_key(kind, spot=group.spot) for group in wanted.node_groups for kind in group.instance_types}
    models = {quota_key(kind) for model in wanted.models for kind in model.instance_types}
    return sorted((groups | models) & set(QUOTAS))


def _quota(connection: Connection, key: tuple[str, str]) -> float:
    return float(lookups.quota(connection, "ec2", QUOTAS[key])["value"])


def _counts(connection: Connection, wanted: Wanted) -> dict[str, tuple[float, int]]:
    """What a network of our own takes, and what others have of it."""
    if wanted.network.vpc_id or not wanted.network.cidr:
        return {}
    rows = {
        "elastic-ip": ask(connection, "addresses", "ec2", "describe_addresses", "Addresses"),
        "vpc": ask(connection, "VPCs", "ec2", "describe_vpcs", "Vpcs"),
    }
    return {
        name: (
            float(lookups.quota(connection, *COUNTS[name][:2])["value"]),
            sum(1 for row in found if tag_map(row.get("Tags") or []).get(TAG_CLUSTER) != wanted.cluster),
        )
        for name, found in rows.items()
    }


def _cluster(connection: Connection, name: str) -> Cluster | None:
    try:
        row = lookups.call(connection, f"EKS cluster {name}", "eks", "describe_cluster", name=name)["cluster"]
    except NotFound:
        return None
    return Cluster(row["version"], (row.get("tags") or {}).get(TAG_CLUSTER, ""), row["status"])


def _vpcs(connection: Connection) -> tuple[Vpc, ...]:
    found = []
    for row in ask(connection, "VPCs", "ec2", "describe_vpcs", "Vpcs"):
        tags = tag_map(row.get("Tags") or [])
        ranges = [each["CidrBlock"] for each in row.get("CidrBlockAssociationSet") or []] or [row["CidrBlock"]]
        found.append(Vpc(row["VpcId"], tuple(ranges), tags.get("Name", ""), tags.get(TAG_CLUSTER, "")))
    return tuple(found)


def _subnets(connection: Connection, vpc: str) -> tuple[Subnet, ...]:
    inside = [{"Name": "vpc-id", "Values": [vpc]}]
    rows = ask(connection, f"subnets of {vpc}", "ec2", "describe_subnets", "Subnets", Filters=inside)
    return tuple(
        Subnet(
            row["SubnetId"],
            row["VpcId"],
            row["AvailabilityZone"],
            row["AvailableIpAddressCount"],
            tag_map(row.get("Tags") or []),
        )
        for row in rows
    )


def _peerings(connection: Connection) -> tuple[Peering, ...]:
    found = []
    for row in ask(connection, "VPC peerings", "ec2", "describe_vpc_peering_connections", "VpcPeeringConnections"):
        if row["Status"]["Code"] not in ("active", "pending-acceptance", "provisioning"):
            continue
        one, other = row["RequesterVpcInfo"], row["AccepterVpcInfo"]
        for mine, theirs in ((one, other), (other, one)):
            cidrs = tuple(each["CidrBlock"] for each in theirs.get("CidrBlockSet") or [])
            found.append(
                Peering(mine["VpcId"], theirs["VpcId"], cidrs or tuple(filter(None, [theirs.get("CidrBlock")])))
            )
    return tuple(found)


def _bucket(connection: Connection, name: str) -> str:
    try:
        lookups.call(connection, f"S3 bucket {name}", "s3", "head_bucket", Bucket=name)
    except AwsError as error:
        if error.code in ("404", "NoSuchBucket", "NotFound"):
            return "free"
        if error.code in ("403", "301", "AccessDenied"):
            return "foreign"
        raise
    return "ours"


def _has_role(connection: Connection, name: str) -> bool:
    try:
        lookups.call(connection, f"IAM role {name}", "iam", "get_role", RoleName=name)
    except NotFound:
        return False
    except AwsError as error:
        if error.code == "NoSuchEntity":
            return False
        raise
    return True


def _taken(connection: Connection, name: Name) -> Taken | None:
    """Who uses the name already, asked through the resource class that would create it."""
    kind = RESOURCES[name.kind]
    made = kind(connection, dict(name.entry.properties))
    current = made.bearer()
    if current is None or made.settled(current).is_leaving:
        return None
    shown = name.name or made.subject.removeprefix(f"{kind.noun} ")
    return Taken(name.kind, kind.noun, shown, name.variable, made.tags_of(current).get(TAG_CLUSTER, ""))
