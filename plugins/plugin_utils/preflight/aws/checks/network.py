# SPDX-License-Identifier: Apache-2.0
"""Address ranges, availability zones, and an existing network."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from .....module_utils.aws.estimate.advice import address_ranges
from ...findings import Finding
from ..facts import Facts, Subnet
from ..wanted import Wanted

# EKS takes no subnets for the control plane in these: https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
_NO_CONTROL_PLANE = ("use1-az3", "usw1-az2", "cac1-az3")
# Free addresses of a subnet that EKS needs for its own interfaces, and that it recommends; same page.
_LEAST_FREE, _RECOMMENDED_FREE = 6, 16
# Addresses that a node with its pods takes at once: m7i.large has 3 interfaces with 10 addresses each.
_A_NODE = 30
_SERVICE_RANGES = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


def ranges(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The ranges of VPC and Services have an allowed size, and overlap neither each other nor peered networks."""
    own = {"network_cidr": wanted.network.cidr, "cluster_service_cidr": wanted.service_cidr}
    given = next((vpc for vpc in facts.vpcs or () if wanted.network.vpc_id and vpc.id == wanted.network.vpc_id), None)
    if given:
        own |= {f"{given.id} ({cidr})": cidr for cidr in given.cidrs}
    for advice in address_ranges({name: cidr for name, cidr in own.items() if cidr}):
        yield Finding(advice.subject, advice.problem, advice.mend, wanted.places.get(advice.subject))
    yield from _sizes(wanted)
    yield from _joined(facts, wanted)


def _sizes(wanted: Wanted) -> Iterator[Finding]:
    vpc, services = _network(wanted.network.cidr), _network(wanted.service_cidr)
    if vpc and not 16 <= vpc.prefixlen <= 20:
        place = wanted.places.get("network_cidr")
        yield Finding("network_cidr", f"is {vpc}", "give a range between /16 and /20", place)
    if services and not (12 <= services.prefixlen <= 24 and any(_within(services, each) for each in _SERVICE_RANGES)):
        problem = f"is {services}, which EKS does not take"
        mend = "give a range between /24 and /12 within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        yield Finding("cluster_service_cidr", problem, mend, wanted.places.get("cluster_service_cidr"))


def _joined(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    own = _network(wanted.network.cidr)
    ours = [vpc.id for vpc in facts.vpcs or () if vpc.owner == wanted.cluster or vpc.id == wanted.network.vpc_id]
    services = _network(wanted.service_cidr)
    for peering in facts.peerings or ():
        if peering.vpc_id not in ours:
            continue
        for cidr in peering.peer_cidrs:
            other = _network(cidr)
            for name, mine in (("network_cidr", own), ("cluster_service_cidr", services)):
                if mine and other and mine.version == other.version and mine.overlaps(other):
                    problem = f"({mine}) overlaps {cidr} of {peering.peer_id}, which the VPC is peered with"
                    mend = "choose a range that the peer does not have"
                    yield Finding(name, problem, mend, wanted.places.get(name), "warning")
    for vpc in facts.vpcs or ():
        if not wanted.network.vpc_id and vpc.name == wanted.cluster and vpc.owner != wanted.cluster:
            problem = (
                f"is {wanted.cluster}, and the VPC {vpc.id} ({', '.join(vpc.cidrs)}) is called so too, without our mark"
            )
            mend = "make sure that a second one is meant; to use that one, set network_vpc_id"
            yield Finding("platform_cluster_name", problem, mend, wanted.places.get("platform_cluster_name"), "warning")


def reach(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Whoever creates a private API must reach it: that is impossible from a VPC that does not exist yet."""
    if (
        wanted.api.public
        or wanted.network.vpc_id
        or facts.vpcs is None
        or (wanted.only and "cluster" not in wanted.only)
    ):
        return
    if any(vpc.owner == wanted.cluster for vpc in facts.vpcs):
        return
    yield Finding(
        "cluster_public_access_cidrs",
        "is empty, so the Kubernetes API can be reached only from within the VPC, which this run would make: no machine can be in it yet",
        "run with -e platform_only=network first, then from a machine in that VPC or in a network that is joined to it; or name the "
        "networks that you work from",
        wanted.places.get("cluster_public_access_cidrs"),
    )


def zones(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The zones exist, EKS allows control planes in them, and there are at least two."""
    place, asked = wanted.places.get("network_zones"), wanted.network.zones
    if not asked or facts.zones is None:
        return
    missing = [zone for zone in asked if zone not in facts.zones]
    if missing:
        problem = f"names {', '.join(missing)}, which {wanted.region} does not show this account"
        yield Finding("network_zones", problem, f"choose of {', '.join(sorted(facts.zones))}", place)
    for zone in asked:
        if facts.zones.get(zone) in _NO_CONTROL_PLANE:
            problem = f"names {zone} ({facts.zones[zone]}), where EKS takes no control plane"
            yield Finding("network_zones", problem, "choose another zone", place)
    if len(set(asked)) < 2:
        yield Finding("network_zones", "names fewer than two zones", "EKS needs two at least: add one", place)


def given(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """An existing VPC and its subnets: they exist, belong together, and have free addresses and tags."""
    network = wanted.network
    if not network.vpc_id:
        return
    place = wanted.places.get("network_vpc_id")
    if facts.vpcs is not None and network.vpc_id not in {vpc.id for vpc in facts.vpcs}:
        yield Finding(
            "network_vpc_id", f"is {network.vpc_id}, which {wanted.region} does not have", "check id and region", place
        )
        return
    if facts.subnets is None:
        return
    known = {subnet.id: subnet for subnet in facts.subnets}
    for variable, ids, role in (
        ("network_private_subnet_ids", network.private_subnet_ids, "kubernetes.io/role/internal-elb"),
        ("network_public_subnet_ids", network.public_subnet_ids, "kubernetes.io/role/elb"),
    ):
        where = wanted.places.get(variable)
        strange = [name for name in ids if name not in known or known[name].vpc_id != network.vpc_id]
        if strange:
            problem = f"names {', '.join(strange)}, which {network.vpc_id} does not have"
            yield Finding(variable, problem, "give subnets of that VPC", where)
        untagged = [name for name in ids if name in known and role not in known[name].tags]
        if untagged:
            problem = f"names {', '.join(untagged)} without the tag {role}: load balancers will not find them"
            yield Finding(variable, problem, f"tag them {role}=1", where, "warning")
    yield from _room(wanted, [known[name] for name in network.private_subnet_ids if name in known])


def _room(wanted: Wanted, subnets: list[Subnet]) -> Iterator[Finding]:
    variable = "network_private_subnet_ids"
    place = wanted.places.get(variable)
    if len({subnet.zone for subnet in subnets}) < 2:
        found = ", ".join(sorted({subnet.zone for subnet in subnets})) or "none"
        yield Finding(variable, f"covers fewer than two zones ({found})", "EKS needs two at least: add a subnet", place)
    for subnet in subnets:
        if subnet.free < _RECOMMENDED_FREE:
            hard = subnet.free < _LEAST_FREE
            wants = f"EKS needs {_LEAST_FREE}" if hard else f"EKS recommends {_RECOMMENDED_FREE}"
            problem = f"has {subnet.id} with {subnet.free} free addresses, and {wants}"
            yield Finding(variable, problem, "free some, or give another subnet", place, "error" if hard else "warning")
    nodes, free = sum(group.maximum for group in wanted.node_groups), sum(subnet.free for subnet in subnets)
    if subnets and free < nodes * _A_NODE:
        problem = f"has {free} free addresses for up to {nodes} nodes, whose pods take about {_A_NODE} each"
        yield Finding(variable, problem, "give larger subnets, or fewer nodes", place, "warning")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text) if text else None
    except ValueError:
        return None


def _within(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
