# SPDX-License-Identifier: Apache-2.0
"""All checks of AWS's answers, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..findings import Finding
from .checks import account, capacity, lifecycle, models, network, nodes
from .checks.models import Placement, choices
from .checks.price import Price, price
from .facts import Facts
from .wanted import Model, Wanted

Check = Callable[[Facts, Wanted], Iterable[Finding]]
# In the order in which they are shown.
CHECKS: dict[str, Check] = {
    "permissions": account.permissions,
    "version": lifecycle.version,
    "age": lifecycle.ages,
    "names": lifecycle.names,
    "ranges": network.ranges,
    "reach": network.reach,
    "zones": network.zones,
    "given network": network.given,
    "node groups": nodes.groups,
    "offers": capacity.offers,
    "models": models.models,
    "quotas": capacity.quotas,
    "counts": capacity.counts,
    "spot": account.spot,
    "secrets": account.secrets,
    "not seen": account.unseen,
}


@dataclass(frozen=True)
class Review:
    """`findings` by kind of check; every kind is listed, also without findings."""

    facts: Facts
    wanted: Wanted
    findings: dict[str, tuple[Finding, ...]]
    models: tuple[tuple[Model, Placement], ...]
    price: Price

    @property
    def all(self) -> list[Finding]:
        return [finding for found in self.findings.values() for finding in found]

    def lines(self) -> list[str]:
        """For people: what was checked, the models with their memory, the price."""
        head = f"AWS account {self.facts.account}, {self.wanted.region}, as {self.facts.caller}"
        return [head, *_aligned(self._rows()), *self._model_lines(), *self._price_lines()]

    def document(self) -> dict[str, Any]:
        """For programs, in the task's result."""
        return {
            "account": self.facts.account,
            "caller": self.facts.caller,
            "region": self.wanted.region,
            "findings": [_document(kind, each) for kind, found in self.findings.items() for each in found],
            "models": [
                {
                    "name": model.name,
                    "instance_type": found.instance_type,
                    "node_group": found.on_group,
                    "price_per_hour": found.price_per_hour,
                    "memory": str(found.estimate.need or ""),
                    "assumed": list(found.estimate.assumed),
                    "reasons": list(found.reasons),
                }
                for model, found in self.models
            ],
            "price": {
                "per_hour": self.price.per_hour,
                "lines": list(self.price.lines),
                "unknown": list(self.price.unknown),
            },
        }

    def _rows(self) -> list[tuple[str, str, str]]:
        rows: list[tuple[str, str, str]] = []
        for kind, found in self.findings.items():
            rows += [(each.severity, kind, str(each)) for each in found]
            if not found and kind != "not seen":
                rows.append(("ok", kind, self._seen(kind)))
        return rows

    def _seen(self, kind: str) -> str:
        """What was checked and is right."""
        facts, wanted = self.facts, self.wanted
        if kind == "permissions":
            return "not looked at" if facts.denied is None else "all that a deployer needs"
        if kind == "version":
            return f"Kubernetes {wanted.version}" if wanted.version and not wanted.adopt else "as the cluster has it"
        if kind == "age":
            return f"as of {wanted.reference.get('as_of') or min(lifecycle.AGES.values())}"
        if kind == "names":
            return f"{len(wanted.names)} names are free or ours"
        if kind == "ranges":
            return ", ".join(filter(None, [wanted.network.cidr, wanted.service_cidr])) or "those of the VPC"
        if kind == "reach":
            return (
                "from outside"
                if wanted.api.public
                else f"from {', '.join(wanted.api.within) or 'nowhere but its nodes'}"
            )
        if kind == "zones":
            return ", ".join(wanted.network.zones) or "those of the subnets"
        if kind == "given network":
            return wanted.network.vpc_id or "none: a VPC of its own"
        if kind == "offers":
            return ", ".join(wanted.instance_types) or "no instance types"
        if kind == "quotas":
            quotas = sorted((facts.quotas or {}).items())
            return (
                ", ".join(f"{family} {option} {vcpus:g} vCPUs" for (family, option), vcpus in quotas) or "none is used"
            )
        if kind == "counts":
            return "room for the network" if facts.counts else "no network of our own"
        if kind == "models":
            return f"{len(self.models)} of {len(wanted.models)} have an instance"
        return "none is missing"

    def _model_lines(self) -> list[str]:
        lines = []
        for model, found in self.models:
            cost = "" if not found.price_per_hour else f", {found.price_per_hour:.2f} USD/h each"
            lines.append(f"model {model.name} → {found.shown}{cost}")
            lines += [f"  {reason}" for reason in found.reasons]
            if found.estimate.assumed:
                lines.append(f"  assumed: {'; '.join(found.estimate.assumed)}")
        return lines

    def _price_lines(self) -> list[str]:
        return [f"price {self.price}", *(f"  {line}" for line in self.price.lines)]


def review(facts: Facts, wanted: Wanted) -> Review:
    """Every check; pure."""
    found = {kind: tuple(check(facts, wanted)) for kind, check in CHECKS.items()}
    return Review(facts, wanted, found, tuple(choices(facts, wanted)), price(facts, wanted))


def _document(kind: str, finding: Finding) -> dict[str, str]:
    return {
        "kind": kind,
        "severity": finding.severity,
        "variable": finding.variable,
        "problem": finding.problem,
        "mend": finding.mend,
        "place": str(finding.place or ""),
    }


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    return [f"  {level.ljust(first)}  {kind.ljust(second)}  {text}" for level, kind, text in rows]
