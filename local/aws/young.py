# SPDX-License-Identifier: Apache-2.0
"""EC2's eventual consistency: for some seconds a new resource is found by one call and not by the next.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import Refusal
from .world import Params, Result, Session, World

# Parameters of a listing that select; what they do not find is no error.
_SELECTING = ("Filters", "Filter")


@dataclass(frozen=True)
class _Kind:
    """`made`: where a creation's answer has the new resource, empty for the answer itself; `listed`: that of a listing."""

    made: str
    identifier: str
    listed: str
    code: str


# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_KINDS = {
    "CreateVpc": _Kind("Vpc", "VpcId", "Vpcs", "InvalidVpcID.NotFound"),
    "CreateSubnet": _Kind("Subnet", "SubnetId", "Subnets", "InvalidSubnetID.NotFound"),
    "CreateInternetGateway": _Kind(
        "InternetGateway", "InternetGatewayId", "InternetGateways", "InvalidInternetGatewayID.NotFound"
    ),
    "CreateRouteTable": _Kind("RouteTable", "RouteTableId", "RouteTables", "InvalidRouteTableID.NotFound"),
    "CreateSecurityGroup": _Kind("", "GroupId", "SecurityGroups", "InvalidGroup.NotFound"),
    "AllocateAddress": _Kind("", "AllocationId", "Addresses", "InvalidAllocationID.NotFound"),
    "CreateNatGateway": _Kind("NatGateway", "NatGatewayId", "NatGateways", "NatGatewayNotFound"),
    "CreateVpcEndpoint": _Kind("VpcEndpoint", "VpcEndpointId", "VpcEndpoints", "InvalidVpcEndpointId.NotFound"),
    "CreateLaunchTemplate": _Kind(
        "LaunchTemplate", "LaunchTemplateId", "LaunchTemplates", "InvalidLaunchTemplateId.NotFound"
    ),
}
_LISTED = {kind.listed: kind.identifier for kind in _KINDS.values()} | {"Tags": "ResourceId"}


def knows(session: Session, name: str) -> bool:
    """Whether an operation makes something that is not found at once."""
    return name in _KINDS and session.delay("ec2") > 0


def note(session: Session, name: str, result: Result) -> None:
    """Remember what a creation has made, and from when on everybody finds it."""
    kind = _KINDS[name]
    made = result[kind.made] if kind.made else result
    session.world.young[made[kind.identifier]] = (session.world.clock.now + session.delay("ec2"), kind.code)


def refuse_unseen(world: World, params: Params) -> None:
    """Raises Refusal where a call names a resource that it does not find yet."""
    for identifier in _named(params) if world.young else ():
        if identifier in world.young and not _is_seen(world, identifier):
            raise Refusal(world.young[identifier][1], f"The ID '{identifier}' does not exist")


def without_unseen(world: World, result: Result) -> Result:
    """A listing without the resources that it does not show yet."""
    return {
        member: [row for row in rows if _is_seen(world, row.get(_LISTED[member], ""))] if member in _LISTED else rows
        for member, rows in result.items()
    }


def _is_seen(world: World, identifier: str) -> bool:
    """Whether this call finds it: by chance while it is young."""
    until = world.young.get(identifier, (0.0, ""))[0]
    if world.clock.now >= until:
        world.young.pop(identifier, None)
        return True
    return random.Random(f"{identifier} {world.clock.now}").random() < 0.5  # noqa: S311 - no secret


def _named(value: Any) -> Iterator[str]:
    """All texts in parameters, but for those of filters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            if name not in _SELECTING:
                yield from _named(member)
    elif isinstance(value, list):
        for member in value:
            yield from _named(member)
