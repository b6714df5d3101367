# SPDX-License-Identifier: Apache-2.0
"""What an instance type means for a pod: which device it asks for, which taint it tolerates, which nodes it may run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils.aws.reference.accelerators import KINDS, AcceleratorKind, facts_of
from ...module_utils.errors import LlmOnEksError

_TYPE_LABEL = "node.kubernetes.io/instance-type"


class AcceleratorError(LlmOnEksError):
    """An entry's accelerators that no pod can have."""


@dataclass(frozen=True)
class Accelerator:
    """`types`: instance types of one kind, the preferred first. `family`: of Neuron devices, as the compiler calls it."""

    kind: AcceleratorKind
    types: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.types[0].partition(".")[0] if self.kind == "neuron" else ""

    def resources(self, count: int) -> dict[str, Any]:
        """Requests and limits for `count` GPUs, or NeuronCores."""
        if self.kind == "cpu":
            return {}
        wanted = {KINDS[self.kind].resource: str(count)}
        return {"requests": wanted, "limits": wanted}

    def placement(self) -> dict[str, Any]:
        """The part of a pod's spec that schedules it to these types, the first ones preferred."""
        if self.kind == "cpu":
            return {}
        only = {"key": _TYPE_LABEL, "operator": "In", "values": list(self.types)}
        required = {"nodeSelectorTerms": [{"matchExpressions": [only]}]}
        node: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": required}
        if len(self.types) > 1:
            node["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": 100 - place, "preference": {"matchExpressions": [{**only, "values": [name]}]}}
                for place, name in enumerate(self.types[:-1])
            ]
        toleration = {"key": KINDS[self.kind].taint, "operator": "Exists", "effect": "NoSchedule"}
        return {"affinity": {"nodeAffinity": node}, "tolerations": [toleration]}


def parallel_of(entry: Mapping[str, Any]) -> int:
    """Over how many GPUs or NeuronCores of a pod a model is spread. The smallest Neuron device has two cores."""
    return int(entry.get("tensor_parallel") or (2 if accelerator_of(entry).kind == "neuron" else 1))


def accelerator_of(entry: Mapping[str, Any]) -> Accelerator:
    """The first type decides the kind; the others must be of the same kind and are alternatives.

    Raises AcceleratorError for an unknown type.
    """
    given = entry.get("accelerators") or "cpu"
    types: Sequence[str] = [given] if isinstance(given, str) else list(given)
    if list(types) == ["cpu"]:
        return Accelerator("cpu")
    unknown = [name for name in types if "." not in str(name)]
    if unknown or not types:
        raise AcceleratorError(
            f"model_catalog[{entry.get('name')}].accelerators is {given!r}: list instance types, [g6.xlarge] for instance, or write cpu"
        )
    kind = facts_of(types[0]).kind
    return Accelerator(kind, tuple(name for name in types if facts_of(name).kind == kind))
