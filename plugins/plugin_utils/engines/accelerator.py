# SPDX-License-Identifier: Apache-2.0
"""What an instance type means for a pod: which device it asks for, which taint it tolerates, which nodes it may run on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...module_utils.errors import LlmOnEksError

Kind = Literal["cpu", "gpu", "neuron"]

# https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
_NEURON = re.compile(r"(inf2|trn1|trn1n|trn2|trn2u|trn3)\.")
_GPU = re.compile(r"(p|g)\d[a-z]*(-[a-z0-9]+)?\.")
_TAINTS = {"gpu": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron"}
_RESOURCES = {"gpu": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuroncore"}
_TYPE_LABEL = "node.kubernetes.io/instance-type"


class AcceleratorError(LlmOnEksError):
    """An entry's accelerators that no pod can have."""


@dataclass(frozen=True)
class Accelerator:
    """`types`: instance types of one kind, the preferred first. `family`: of Neuron devices, as the compiler calls it."""

    kind: Kind
    types: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.types[0].partition(".")[0] if self.kind == "neuron" else ""

    def resources(self, count: int) -> dict[str, Any]:
        """Requests and limits for `count` GPUs, or NeuronCores."""
        if self.kind == "cpu":
            return {}
        wanted = {_RESOURCES[self.kind]: str(count)}
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
        toleration = {"key": _TAINTS[self.kind], "operator": "Exists", "effect": "NoSchedule"}
        return {"affinity": {"nodeAffinity": node}, "tolerations": [toleration]}


def kind_of(instance_type: str) -> Kind:
    """`neuron` for inf2.xlarge, `gpu` for g6.xlarge, `cpu` for m7i.large."""
    if _NEURON.match(instance_type):
        return "neuron"
    return "gpu" if _GPU.match(instance_type) else "cpu"


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
    kind = kind_of(types[0])
    return Accelerator(kind, tuple(name for name in types if kind_of(name) == kind))
