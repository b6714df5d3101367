# SPDX-License-Identifier: Apache-2.0
"""Checks that need no call, before anything is started: support dates, address ranges, price. Pure."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ..reference.prices import FIXED, per_hour
from ..survey.lookups import Version

_WARN_DAYS = 60


@dataclass(frozen=True)
class Advice:
    """One finding. `hard` stops the run. `mend`: what to do."""

    severity: Literal["hard", "warning"]
    subject: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.subject} {self.problem}; {self.mend}"


def kubernetes_version(wanted: str, versions: Sequence[Version], today: datetime.date) -> list[Advice]:
    """Whether EKS offers the version, and for how long it is supported."""
    found = {row.version: row for row in versions}
    good = ", ".join(row.version for row in versions if row.support == "STANDARD_SUPPORT")
    row = found.get(wanted)
    if row is None or row.support == "UNSUPPORTED":
        return [Advice("hard", f"Kubernetes {wanted}", "is not offered by EKS here", f"take one of {good}")]
    if row.support != "STANDARD_SUPPORT":
        ends = f"is in extended support until {row.extended_support_ends}, which costs more"
        return [Advice("warning", f"Kubernetes {wanted}", ends, f"take one of {good}")]
    if row.standard_support_ends:
        left = (datetime.date.fromisoformat(row.standard_support_ends) - today).days
        if left < _WARN_DAYS:
            ends = f"leaves standard support on {row.standard_support_ends}, in {left} days"
            return [Advice("warning", f"Kubernetes {wanted}", ends, "plan the upgrade, or take a newer one")]
    return []


def address_ranges(ranges: Mapping[str, str]) -> list[Advice]:
    """Findings for ranges (name → CIDR) that are invalid or overlap."""
    found, advice = {}, []
    for name, cidr in ranges.items():
        try:
            found[name] = ipaddress.ip_network(cidr)
        except ValueError as error:
            advice.append(Advice("hard", name, f"is {cidr!r}: {error}", "give a range such as 10.0.0.0/16"))
    for (one, first), (other, second) in combinations(found.items(), 2):
        if first.version == second.version and first.overlaps(second):
            advice.append(
                Advice("hard", one, f"({first}) overlaps {other} ({second})", "choose ranges apart from each other")
            )
    return advice


def price(
    nodes: Mapping[str, int], fixed: Mapping[str, int], own: Mapping[str, float] | None = None
) -> tuple[float, list[str], list[str]]:
    """USD per hour of what is about to start, its lines, and instance types without a known price.

    `nodes`: instance type → how many; `fixed`: key of prices.FIXED → how many.
    """
    total, lines, unknown = 0.0, [], []
    rows: Iterable[tuple[str, int, float | None]] = [
        *((name, count, per_hour(name, own)) for name, count in nodes.items()),
        *((name, count, FIXED.get(name)) for name, count in fixed.items()),
    ]
    for name, count, each in rows:
        if each is None:
            unknown.append(name)
        elif count:
            total += count * each
            lines.append(f"{count} x {name.replace('_', ' ')}: {count * each:.2f} USD/h")
    return round(total, 4), lines, unknown
