# SPDX-License-Identifier: Apache-2.0
"""Everything in an account and region that carries a cluster's mark, and its price per hour. Read only.

Each service is listed to its last page. The tagging API is not used: it lags behind deletions, and lacks IAM.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..base.connection import Connection
from ..base.errors import AwsError
from ..catalog import RESOURCES
from ..ec2.base import Ec2Resource
from . import controllers
from .item import Item, Look, Looker


def _others(looker: Looker) -> Iterable[Item]:
    ours = {kind.resource_type for kind in RESOURCES.values() if issubclass(kind, Ec2Resource)}
    return controllers.others(looker, ours | {made.named.resource_type for made in controllers.EC2})


# The kind of items → the function that lists them.
LOOKS: dict[str, Look] = {
    **{name: kind.census for name, kind in RESOURCES.items() if kind.in_census},
    **{made.named.kind: made.census for made in controllers.EC2},
    "elb_load_balancer": controllers.load_balancers,
    "elb_target_group": controllers.target_groups,
    controllers.OTHER: _others,
}
KINDS = tuple(sorted(LOOKS))
# A client keeps ten connections: four listings of IAM with their details need fewer.
_SERVICES, _DETAILS = 12, 6


@dataclass(frozen=True)
class Census:
    """`items` by kind and name; `unseen`: one sentence for each part that could not be read."""

    items: tuple[Item, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def price_per_hour(self) -> float:
        """USD an hour of all items whose price is known."""
        return round(sum(item.price_per_hour or 0 for item in self.items), 4)

    @property
    def unpriced(self) -> tuple[Item, ...]:
        """Items that cost money but whose price is not known."""
        return tuple(item for item in self.items if item.price_per_hour is None)

    def only(self, kinds: Collection[str]) -> Census:
        return Census(tuple(item for item in self.items if item.kind in kinds), self.unseen)

    def table(self) -> list[str]:
        """Aligned lines with a header and the sum. Without items: only one line for each part that could not be read."""
        lines = _aligned(
            [("KIND", "NAME", "ID", "COMPONENT", "STATE", "USD/H"), *(_row(item) for item in self.items)]
            if self.items
            else []
        )
        if self.items:
            more = f", and {len(self.unpriced)} without a known price" if self.unpriced else ""
            lines.append(f"{len(self.items)} in all, {self.price_per_hour:.4f} USD an hour{more}")
        return [*lines, *(f"could not be checked: {sentence}" for sentence in self.unseen)]


def census(connection: Connection, cluster: str, kinds: Collection[str] = KINDS) -> Census:
    """Everything that carries `llm.on_eks/cluster=<cluster>` now, of these kinds; only their services are asked.

    A service that refuses is named in `unseen`, and the others are still listed. Raises AwsError for an unknown kind.
    """
    strange = sorted(set(kinds) - set(KINDS))
    if strange:
        raise AwsError(f"census: there is no kind {strange[0]!r}; known are {', '.join(KINDS)}")
    looks = [look for kind, look in LOOKS.items() if kind in kinds]
    if not looks:
        return Census()
    with ThreadPoolExecutor(_SERVICES) as services, ThreadPoolExecutor(_DETAILS) as details:
        looker = Looker(connection, cluster, details)
        parts = [services.submit(_attempt, look, looker) for look in looks]
        found = [part.result() for part in parts]
    items = {(item.kind, item.id): item for part, __ in found for item in part}
    ordered = sorted(items.values(), key=lambda item: (item.kind, item.name, item.id))
    return Census(tuple(ordered), tuple(sorted({*looker.refused, *(why for __, why in found if why)})))


def _attempt(look: Look, looker: Looker) -> tuple[list[Item], str]:
    try:
        return list(look(looker)), ""
    except AwsError as error:
        return [], str(error)


def _row(item: Item) -> tuple[str, ...]:
    price = "unknown" if item.price_per_hour is None else f"{item.price_per_hour:.4f}" if item.price_per_hour else "-"
    return item.kind, item.name or "-", item.id, item.component or "-", item.state or "-", price


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
