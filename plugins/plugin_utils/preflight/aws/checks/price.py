# SPDX-License-Identifier: Apache-2.0
"""The price of what is about to start, in USD an hour."""

from __future__ import annotations

from dataclasses import dataclass

from .....module_utils.aws.estimate.advice import price as sum_up
from .....module_utils.aws.reference.prices import AS_OF, REGION
from ..facts import Facts
from ..wanted import Wanted
from .models import choices


@dataclass(frozen=True)
class Price:
    """USD an hour of everything with a known price, its lines, and the instance types without a known price."""

    per_hour: float
    lines: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f", and what {', '.join(self.unknown)} cost (unknown; platform_prices takes it)" if self.unknown else ""
        return f"{self.per_hour:.2f} USD an hour{more}; an estimate, prices of {REGION} as of {AS_OF}"


def price(facts: Facts, wanted: Wanted) -> Price:
    """The price at minimum size: node groups as desired, models with their fewest pods. Spot is counted as on demand."""
    nodes: dict[str, int] = {}
    for group in wanted.node_groups:
        if group.instance_types and group.desired:
            nodes[group.instance_types[0]] = nodes.get(group.instance_types[0], 0) + group.desired
    for model, choice in choices(facts, wanted):
        if choice.instance_type and not choice.on_group and model.minimum:
            nodes[choice.instance_type] = nodes.get(choice.instance_type, 0) + model.minimum
    extended = any(row.version == wanted.version and row.support == "EXTENDED_SUPPORT" for row in facts.versions or ())
    cluster = 0 if wanted.adopt else 1
    fixed = {
        "eks_cluster_extended_support" if extended else "eks_cluster": cluster,
        "nat_gateway": wanted.network.nat_gateways,
        "public_ipv4": wanted.network.nat_gateways,
        "interface_endpoint_per_zone": wanted.network.interface_endpoints,
    }
    total, lines, unknown = sum_up(nodes, {name: count for name, count in fixed.items() if count}, wanted.prices)
    return Price(total, tuple(lines), tuple(unknown))
