# SPDX-License-Identifier: Apache-2.0
"""What a census lists besides our kinds: resources that controllers and node groups create with the cluster's mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..base.errors import NotFound
from ..base.tagging import tag_map
from ..ec2.base import Named, marked, marked_types, name_of
from ..reference.prices import per_hour, per_hour_of
from .item import Item, Looker, Row

# DescribeTags of ELBv2 takes 20 ARNs at most.
_ARNS = 20
OTHER = "ec2_other"


@dataclass(frozen=True)
class Made:
    """A type of EC2 that no component describes. `price`: USD an hour of a row; `part_of`: what it goes with."""

    named: Named
    price: Callable[[Row], float | None] = lambda row: 0.0
    state: Callable[[Row], str] = lambda row: str(row.get("State") or "")
    part_of: Callable[[Row], str] = lambda row: ""

    def census(self, looker: Looker) -> Iterator[Item]:
        for row, tags in marked(looker, self.named):
            more = {
                "name": name_of(row, tags),
                "state": self.state(row),
                "price_per_hour": self.price(row),
                "part_of": self.part_of(row),
            }
            yield looker.item(self.named.kind, str(row[self.named.id]), tags, **more)


EC2 = (
    Made(
        Named("ec2_instance", "instance", "describe_instances", "Reservations", "InstanceId"),
        price=lambda row: per_hour(str(row.get("InstanceType"))) if row["State"]["Name"] == "running" else 0.0,
        state=lambda row: str(row["State"]["Name"]),
        part_of=lambda row: tag_map(row.get("Tags") or []).get("eks:nodegroup-name", ""),
    ),
    Made(
        Named("ec2_volume", "volume", "describe_volumes", "Volumes", "VolumeId"),
        price=lambda row: per_hour_of(f"{row.get('VolumeType')}_gib", float(row.get("Size") or 0)),
        part_of=lambda row: next(
            (str(one["InstanceId"]) for one in row.get("Attachments") or [] if one.get("DeleteOnTermination")), ""
        ),
    ),
    Made(
        Named(
            *("ec2_snapshot", "snapshot", "describe_snapshots", "Snapshots", "SnapshotId"),
            extra=(("OwnerIds", ["self"]),),
        ),
        price=lambda row: per_hour_of("snapshot_gib", float(row.get("VolumeSize") or 0)),
    ),
    Made(
        Named(
            *("ec2_network_interface", "network-interface", "describe_network_interfaces"),
            *("NetworkInterfaces", "NetworkInterfaceId"),
        ),
        state=lambda row: str(row.get("Status") or ""),
    ),
    Made(
        Named("ec2_address", "elastic-ip", "describe_addresses", "Addresses", "AllocationId"),
        price=lambda row: per_hour_of("public_ipv4"),
        state=lambda row: "in use" if row.get("AssociationId") else "free",
    ),
)


def others(looker: Looker, known: set[str]) -> Iterator[Item]:
    """Any other type with tags, for example a security group rule: it is named, so that nothing stays hidden."""
    for kind, ids in sorted(marked_types(looker).items()):
        if kind not in known:
            yield from (Item(OTHER, identifier, name=kind, price_per_hour=None) for identifier in sorted(ids))


def load_balancers(looker: Looker) -> Iterator[Item]:
    price = per_hour_of("network_load_balancer")
    for row, tags in _elb(looker, "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"):
        more = {"name": row["LoadBalancerName"], "state": str((row.get("State") or {}).get("Code") or "")}
        yield looker.item("elb_load_balancer", row["LoadBalancerArn"], tags, **more, price_per_hour=price)


def target_groups(looker: Looker) -> Iterator[Item]:
    for row, tags in _elb(looker, "describe_target_groups", "TargetGroups", "TargetGroupArn"):
        yield looker.item("elb_target_group", row["TargetGroupArn"], tags, name=row["TargetGroupName"])


def _elb(looker: Looker, operation: str, result: str, arn: str) -> Iterator[tuple[Row, dict[str, str]]]:
    rows = {str(row[arn]): row for row in looker.list("elbv2", operation, result)}
    arns = list(rows)
    for at in range(0, len(arns), _ARNS):
        try:
            found = looker.call("elbv2", "describe_tags", ResourceArns=arns[at : at + _ARNS])["TagDescriptions"]
        except NotFound:
            # One of them was deleted meanwhile, and the call failed for all of them.
            found = [tag for each in arns[at : at + _ARNS] for tag in _tags_of(looker, each)]
        for row in found:
            tags = tag_map(row.get("Tags") or [])
            if looker.ours(tags):
                yield rows[str(row["ResourceArn"])], tags


def _tags_of(looker: Looker, arn: str) -> list[Row]:
    try:
        return list(looker.call("elbv2", "describe_tags", ResourceArns=[arn])["TagDescriptions"])
    except NotFound:
        return []
