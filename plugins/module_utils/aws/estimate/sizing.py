# SPDX-License-Identifier: Apache-2.0
"""Which instance type a model gets, and why: memory for weights and KV cache against what a region offers and a quota allows.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..reference.accelerators import quota_family
from ..survey.lookups import Offering

_MIB = 1024 * 1024
# The share of an accelerator's memory that an engine may use; vLLM's default for gpu_memory_utilization.
USABLE_SHARE = 0.9
# What pods may use of a node's memory: less what EKS reserves for kubelet and system, and what daemons take.
# https://github.com/awslabs/amazon-eks-ami (kube-reserved: 255 MiB and 11 MiB for each pod)
USABLE_SHARE_CPU = 0.75
# Activations, CUDA context, graphs: what profiling runs of vLLM report for models of 1 to 70 billion parameters.
OVERHEAD_MIB = 1536
# llama.cpp's compute buffers and the process itself.
OVERHEAD_CPU_MIB = 256


@dataclass(frozen=True)
class Architecture:
    """A transformer as its config.json has it. `parameters` in all; bits of a weight and of a cached key or value."""

    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    weight_bits: float = 16
    kv_bits: float = 16


@dataclass(frozen=True)
class Need:
    """Memory in MiB that a model needs."""

    weights_mib: int
    kv_cache_mib: int
    overhead_mib: int = OVERHEAD_MIB

    @property
    def total_mib(self) -> int:
        return self.weights_mib + self.kv_cache_mib + self.overhead_mib

    def __str__(self) -> str:
        return (
            f"weights {gib(self.weights_mib)} + KV cache {gib(self.kv_cache_mib)} + {gib(self.overhead_mib)} "
            f"for the engine = {gib(self.total_mib)}"
        )


@dataclass(frozen=True)
class Choice:
    """The instance type of a model, or "" when none fits; `reasons` says for each preferred type why, or why not."""

    instance_type: str
    reasons: tuple[str, ...]
    price_per_hour: float | None = None


def need(model: Architecture, *, context: int, sequences: int = 1) -> Need:
    """Memory for the weights, and for keys and values of this number of sequences with the whole context (tokens).

    One token takes 2 (key and value) x layers x KV heads x head size values: https://arxiv.org/abs/2309.06180
    """
    per_token = 2 * model.layers * model.kv_heads * model.head_dim * model.kv_bits / 8
    weights = model.parameters * model.weight_bits / 8
    return Need(_mib(weights), _mib(per_token * context * sequences))


def choose(
    wanted: Need,
    preference: Sequence[str],
    offers: Sequence[Offering],
    vcpu_quotas: Mapping[str, float],
    *,
    cpu: bool = False,
) -> Choice:
    """The first preferred type that the region offers, that a quota allows, and that the model fits on.

    `vcpu_quotas`: family as in reference.quotas → vCPUs; a family that is not named is not checked. `cpu`: the model is
    computed by the processor, so types without accelerators are allowed.
    """
    known = {offer.instance_type: offer for offer in offers}
    reasons: list[str] = []
    for name in preference:
        obstacle = _obstacle(wanted, name, known.get(name), vcpu_quotas, cpu)
        if not obstacle:
            offer = known[name]
            spread = f" over {offer.accelerators} accelerators" if offer.accelerators > 1 else ""
            usable = f"{gib(usable_mib(offer, cpu))} usable{spread}"
            fits = f"{name}: fits: {wanted}, of {usable}; zones {', '.join(offer.zones)}"
            return Choice(name, (*reasons, fits), offer.price_per_hour)
        reasons.append(f"{name}: {obstacle}")
    return Choice("", tuple(reasons) or ("no accelerator is named",))


def usable_mib(offer: Offering, cpu: bool) -> int:
    """Memory for a model: the accelerators', or for `cpu` that of a node without any; 0 where there is none to use."""
    if offer.accelerators:
        return int(offer.accelerator_memory_total_mib * USABLE_SHARE)
    return int(offer.memory_mib * USABLE_SHARE_CPU) if cpu else 0


def _obstacle(wanted: Need, name: str, offer: Offering | None, quotas: Mapping[str, float], cpu: bool) -> str:
    if offer is None or not offer.zones:
        return "not offered in this region"
    family = quota_family(name)
    if family in quotas and quotas[family] < offer.vcpus:
        return f"needs {offer.vcpus} vCPUs of the quota for {family} instances, which is {quotas[family]:g}; ask AWS to raise it"
    usable = usable_mib(offer, cpu)
    if not usable:
        return "has no accelerator"
    if wanted.total_mib > usable:
        return f"too small: {wanted}, and {gib(usable)} usable; shorten the context, quantize, or take a larger type"
    return ""


def _mib(size_bytes: float) -> int:
    return -int(-size_bytes // _MIB)


def gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB"
