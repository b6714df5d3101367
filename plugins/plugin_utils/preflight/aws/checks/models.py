# SPDX-License-Identifier: Apache-2.0
"""Checks the catalogue against the instance types: which type each model gets and why, or what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .....module_utils.aws.estimate.model_size import BITS, Estimate, estimate
from .....module_utils.aws.estimate.sizing import OVERHEAD_CPU_MIB, Need, choose
from ...findings import Finding, Severity
from ..described import NodeGroup
from ..facts import Facts
from ..wanted import Model, Wanted

# Engines without a Neuron backend: https://github.com/ggml-org/llama.cpp#supported-backends
_NO_NEURON = ("llamacpp",)


@dataclass(frozen=True)
class Placement:
    """Where a model is placed. `on_group`: the node group with room, for models on processors; `reasons`: one for each candidate."""

    instance_type: str
    reasons: tuple[str, ...]
    price_per_hour: float | None = None
    on_group: str = ""
    estimate: Estimate = field(default_factory=lambda: Estimate(None))

    @property
    def shown(self) -> str:
        return f"{self.instance_type} (node group {self.on_group})" if self.on_group else self.instance_type or "none"


def choices(facts: Facts, wanted: Wanted) -> list[tuple[Model, Placement]]:
    """Each model with its place; nothing while the region's offers are not known."""
    if facts.offers is None:
        return []
    return [(model, _place(facts, wanted, model)) for model in wanted.models]


def models(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Every model has an instance type, and its size is known."""
    place = wanted.places.get("model_catalog")
    for model in wanted.models:
        given = model.given
        if given.quantization and given.quantization.lower().replace("-", "_") not in BITS:
            yield Finding(
                f"model_catalog[{model.name}].quantization",
                f"is {given.quantization!r}, whose size is not known: 16 bits per weight are assumed",
                f"take one of {', '.join(BITS)}, or set weights_gib",
                place,
                "warning",
            )
    for model, found in choices(facts, wanted):
        path = f"model_catalog[{model.name}]"
        if not found.instance_type:
            # Karpenter may start types that no node group has.
            severity: Severity = "warning" if not model.instance_types and wanted.karpenter else "error"
            named = "accelerators" if model.instance_types else "accelerators (cpu)"
            reasons = "; ".join(found.reasons)
            mend = "name a type that has room" if model.instance_types else "give a node group larger instances"
            yield Finding(f"{path}.{named}", f"fits on no instance type: {reasons}", mend, place, severity)
        if found.estimate.need is None:
            mend = "set parameters (8B, for instance) or weights_gib"
            yield Finding(path, "has an unknown size, so its memory was not checked", mend, place, "warning")


def _place(facts: Facts, wanted: Wanted, model: Model) -> Placement:
    on_processor = not model.instance_types
    try:
        found = estimate(model.given, engine_mib=OVERHEAD_CPU_MIB if on_processor else None)
    except ValueError:
        found = Estimate(None)
    memory = found.need or Need(0, 0, 0)
    if on_processor:
        return _on_group(facts, wanted, memory, found)
    strange = {kind: why for kind in model.instance_types if (why := _unfit(facts, model, kind))}
    fitting = [kind for kind in model.instance_types if kind not in strange]
    quotas = {family: vcpus for (family, option), vcpus in (facts.quotas or {}).items() if option == "on-demand"}
    choice = choose(memory, fitting, facts.offers or (), quotas, cpu=model.cpu)
    reasons = (*(f"{kind}: {why}" for kind, why in strange.items()), *(choice.reasons if fitting else ()))
    return Placement(choice.instance_type, _known(reasons, found), choice.price_per_hour, estimate=found)


def _unfit(facts: Facts, model: Model, kind: str) -> str:
    """Why the engine cannot use what the type has, whatever its size."""
    offer = facts.offer(kind)
    if offer is not None and offer.manufacturer == "AWS" and model.engine in _NO_NEURON:
        return f"{model.engine} does not compute on {offer.accelerator}"
    return ""


def _on_group(facts: Facts, wanted: Wanted, memory: Need, found: Estimate) -> Placement:
    reasons: list[str] = []
    for group in wanted.node_groups:
        choice = choose(memory, _smallest(facts, group), facts.offers or (), {}, cpu=True)
        reasons += [f"node group {group.name}: {reason}" for reason in choice.reasons]
        if choice.instance_type:
            # It runs on nodes that are paid for already.
            return Placement(choice.instance_type, _known(tuple(reasons), found), 0.0, group.name, found)
    return Placement("", _known(tuple(reasons), found) or ("there is no node group",), None, estimate=found)


def _smallest(facts: Facts, group: NodeGroup) -> list[str]:
    """The type of a group with the least memory: EKS may start any of the group's types."""
    known = [offer for kind in group.instance_types if (offer := facts.offer(kind)) is not None and offer.zones]
    return [min(known, key=lambda offer: offer.memory_mib).instance_type] if known else list(group.instance_types[:1])


def _known(reasons: tuple[str, ...], found: Estimate) -> tuple[str, ...]:
    """Reasons without figures where the model's size is not known."""
    if found.need is not None:
        return reasons
    return tuple(
        f"{reason.split(': fits')[0]}: taken unchecked, its size is not known" if ": fits" in reason else reason
        for reason in reasons
    )
