# SPDX-License-Identifier: Apache-2.0
"""The EC2 part of a census: one listing of tags says which types carry the mark, then only those are read.

The listing of tags knows things for an hour after their end (a terminated instance): the reading of the thing itself decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ...names import TAG_CLUSTER
from ..base.resource import tag_map
from ..estimate.prices import per_hour, per_hour_of
from .item import Item, Look, Looker, Row

_DEAD = {"terminated", "deleted"}


@dataclass(frozen=True)
class Kind:
    """How a type of EC2's tags is read. `id`: member that holds its id; `price`: USD an hour of a row."""

    kind: str
    operation: str
    result: str
    id: str
    price: Callable[[Row], float | None] = lambda row: 0.0
    state: Callable[[Row], str] = lambda row: str(row.get("State") or "")
    extra: tuple[tuple[str, list[str]], ...] = ()


def _volume_price(row: Row) -> float | None:
    return per_hour_of(f"{row.get('VolumeType')}_gib", float(row.get("Size") or 0))


def _endpoint_price(row: Row) -> float | None:
    zones = len(row.get("SubnetIds") or [])
    return per_hour_of("interface_endpoint_per_zone", zones) if row.get("VpcEndpointType") == "Interface" else 0.0


_TYPES: dict[str, Kind] = {
    "instance": Kind(
        "ec2_instance",
        "describe_instances",
        "Reservations",
        "InstanceId",
        price=lambda row: per_hour(str(row.get("InstanceType"))) if row["State"]["Name"] == "running" else 0.0,
        state=lambda row: str(row["State"]["Name"]),
    ),
    "volume": Kind("ec2_volume", "describe_volumes", "Volumes", "VolumeId", price=_volume_price),
    "snapshot": Kind(
        "ec2_snapshot",
        "describe_snapshots",
        "Snapshots",
        "SnapshotId",
        price=lambda row: per_hour_of("snapshot_gib", float(row.get("VolumeSize") or 0)),
        extra=(("OwnerIds", ["self"]),),
    ),
    "network-interface": Kind(
        "ec2_network_interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
        state=lambda row: str(row.get("Status") or ""),
    ),
    "elastic-ip": Kind(
        "ec2_address",
        "describe_addresses",
        "Addresses",
        "AllocationId",
        price=lambda row: per_hour_of("public_ipv4"),
        state=lambda row: "in use" if row.get("AssociationId") else "free",
    ),
    "vpc": Kind("ec2_vpc", "describe_vpcs", "Vpcs", "VpcId"),
    "subnet": Kind("ec2_subnet", "describe_subnets", "Subnets", "SubnetId"),
    "internet-gateway": Kind(
        "ec2_internet_gateway",
        "describe_internet_gateways",
        "InternetGateways",
        "InternetGatewayId",
    ),
    "natgateway": Kind(
        "ec2_nat_gateway",
        "describe_nat_gateways",
        "NatGateways",
        "NatGatewayId",
        price=lambda row: per_hour_of("nat_gateway") if row.get("State") in ("pending", "available") else 0.0,
    ),
    "route-table": Kind("ec2_route_table", "describe_route_tables", "RouteTables", "RouteTableId"),
    "security-group": Kind("ec2_security_group", "describe_security_groups", "SecurityGroups", "GroupId"),
    "vpc-endpoint": Kind(
        "ec2_endpoint",
        "describe_vpc_endpoints",
        "VpcEndpoints",
        "VpcEndpointId",
        price=_endpoint_price,
    ),
    "launch-template": Kind(
        "ec2_launch_template",
        "describe_launch_templates",
        "LaunchTemplates",
        "LaunchTemplateId",
    ),
}
# AWS has spelt some types of its tags in two ways.
_TYPES["nat-gateway"] = _TYPES["natgateway"]
_OTHER = "ec2_other"
_FILTER = {"describe_nat_gateways": "Filter"}


def _look(looker: Looker) -> Iterator[Item]:
    marks = [{"Name": "key", "Values": [TAG_CLUSTER]}, {"Name": "value", "Values": [looker.cluster]}]
    ids: dict[str, set[str]] = {}
    for tag in looker.list("ec2", "describe_tags", "Tags", Filters=marks):
        ids.setdefault(str(tag["ResourceType"]), set()).add(str(tag["ResourceId"]))
    known = list({_TYPES[kind].kind: _TYPES[kind] for kind in ids if kind in _TYPES}.values())
    for items in looker.details.map(partial(_read, looker), known):
        yield from items
    for kind in sorted(set(ids) - set(_TYPES)):
        # Something new that takes tags, a rule of a security group for instance: named, so that nothing stays hidden.
        yield from (Item(_OTHER, identifier, name=kind, price_per_hour=None) for identifier in sorted(ids[kind]))


def _read(looker: Looker, kind: Kind) -> list[Item]:
    marked = [{"Name": f"tag:{TAG_CLUSTER}", "Values": [looker.cluster]}]
    filters = {_FILTER.get(kind.operation, "Filters"): marked, **dict(kind.extra)}
    rows: list[Row] = looker.list("ec2", kind.operation, kind.result, **filters)
    if kind.result == "Reservations":
        rows = [instance for reservation in rows for instance in reservation["Instances"]]
    items = []
    for row in rows:
        tags = tag_map(row.get("Tags", row.get("TagSet")) or [])
        state = kind.state(row)
        if looker.ours(tags) and state.lower() not in _DEAD:
            name = tags.get("Name", "") or str(row.get("GroupName") or row.get("LaunchTemplateName") or "")
            more = {"name": name, "state": state, "price_per_hour": kind.price(row)}
            items.append(looker.item(kind.kind, str(row[kind.id]), tags, **more))
    return items


LOOKS: dict[Look, tuple[str, ...]] = {_look: (*sorted({kind.kind for kind in _TYPES.values()}), _OTHER)}
