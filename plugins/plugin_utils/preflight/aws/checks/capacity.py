# SPDX-License-Identifier: Apache-2.0
"""Whether the region offers the instance types, and whether the account's quotas allow so many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .....module_utils.aws.reference.quotas import COUNTS, QUOTAS, quota_key
from ...findings import Finding
from ..described import NodeGroup
from ..facts import Facts
from ..wanted import Wanted
from .models import choices


def offers(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The zones of the network offer each instance type. Alternatives of a model are checked with the models."""
    if facts.offers is None:
        return
    zones = set(wanted.network.zones) or {subnet.zone for subnet in facts.subnets or ()}
    for group in wanted.node_groups:
        variable = f"{group.variable}[{group.name}].instance_types"
        place = wanted.places.get(group.variable)
        had = {kind: _zones(facts, kind) & zones if zones else _zones(facts, kind) for kind in group.instance_types}
        missing = [kind for kind, found in had.items() if not found]
        where = f"{wanted.region} ({', '.join(sorted(zones))})" if zones else wanted.region
        if missing and len(missing) == len(had):
            mend = "take types that the region has, or another region"
            yield Finding(variable, f"names {', '.join(missing)}, and {where} has none of them", mend, place)
        elif missing:
            problem = f"names {', '.join(missing)}, which {where} does not have"
            yield Finding(variable, problem, "leave it out", place, "warning")
        short = zones - set().union(*had.values())
        if short and len(missing) < len(had):
            problem = f"has no type that {', '.join(sorted(short))} offers: no node of it can start there"
            yield Finding(variable, problem, "add a type that every zone has", place, "warning")
    for model in wanted.models:
        for kind in model.instance_types:
            found = _zones(facts, kind)
            if found and zones and not found & zones:
                problem = (
                    f"is offered in {', '.join(sorted(found))} only, and the network has {', '.join(sorted(zones))}"
                )
                mend = "add one of these zones to network_zones"
                yield Finding(
                    f"model_catalog[{model.name}].accelerators",
                    f"{kind} {problem}",
                    mend,
                    wanted.places.get("model_catalog"),
                    "warning",
                )


@dataclass(frozen=True)
class _Use:
    """vCPUs that something uses at the start and at most, of one quota."""

    what: str
    variable: str
    start: int
    most: int


def quotas(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The vCPU quotas suffice for all node groups and models, in addition to what runs in the account already."""
    if facts.quotas is None or facts.offers is None:
        return
    uses: dict[tuple[str, str], list[_Use]] = {}
    for group in wanted.node_groups:
        _add_group(facts, group, uses)
    for model, choice in choices(facts, wanted):
        offer = facts.offer(choice.instance_type)
        if offer is not None and not choice.on_group:
            words = f"model {model.name} {_count(model.minimum, model.maximum)} x {offer.instance_type}"
            key = quota_key(offer.instance_type)
            use = _Use(words, "model_catalog", offer.vcpus * model.minimum, offer.vcpus * model.maximum)
            uses.setdefault(key, []).append(use)
    for key, found in sorted(uses.items()):
        if key in facts.quotas:
            yield from _compare(facts, wanted, key, found)


def counts(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The account may have one more VPC, and an address for each NAT gateway: without, nodes never join."""
    needed = {"vpc": 1, "elastic-ip": wanted.network.nat_gateways}
    places = {"vpc": "network_vpc_id", "elastic-ip": "network_nat"}
    for name, (quota, others) in (facts.counts or {}).items():
        if needed[name] and others + needed[name] > quota:
            service, code, noun = COUNTS[name]
            problem = f"is {quota:g}, and {needed[name]} {'is' if needed[name] == 1 else 'are'} needed beside {others} of others"
            mend = f"ask for {others + needed[name]} or more (Service Quotas, {service} {code}), or give some back"
            yield Finding(f"the quota of {noun}", problem, mend, wanted.places.get(places[name]))


def _add_group(facts: Facts, group: NodeGroup, uses: dict[tuple[str, str], list[_Use]]) -> None:
    sizes = [offer for kind in group.instance_types if (offer := facts.offer(kind)) is not None and offer.zones]
    if not sizes:
        return
    # EKS may start any of the types, so the largest counts.
    largest = max(sizes, key=lambda offer: offer.vcpus)
    key = quota_key(largest.instance_type, spot=group.spot)
    words = f"node group {group.name} {_count(group.desired, group.maximum)} x {largest.instance_type}"
    use = _Use(words, group.variable, largest.vcpus * group.desired, largest.vcpus * group.maximum)
    uses.setdefault(key, []).append(use)


def _compare(facts: Facts, wanted: Wanted, key: tuple[str, str], uses: Sequence[_Use]) -> Iterator[Finding]:
    if facts.quotas is None:
        raise AssertionError
    quota, others = facts.quotas[key], (facts.in_use or {}).get(key, 0)
    start, most = sum(use.start for use in uses), sum(use.most for use in uses)
    if most + others <= quota:
        return
    family, option = key
    hard = start + others > quota
    needed = start if hard else most
    when = "at the start" if hard else "when all are at their largest"
    parts = ", ".join(
        f"{use.what} = {use.start if hard else use.most}" for use in uses if (use.start if hard else use.most)
    )
    beside = f", beside {others} in use by others" if others else ""
    problem = f"is {quota:g} vCPUs, and {needed} are needed {when}{beside}: {parts}"
    code = QUOTAS.get(key, "")
    mend = f"ask for {needed + others} or more (Service Quotas, ec2 {code}), or start less"
    place = wanted.places.get(uses[0].variable)
    yield Finding(f"the quota of {family} instances, {option},", problem, mend, place, "error" if hard else "warning")


def _zones(facts: Facts, kind: str) -> set[str]:
    offer = facts.offer(kind)
    return set(offer.zones) if offer else set()


def _count(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"
