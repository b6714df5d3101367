# SPDX-License-Identifier: Apache-2.0
"""Accelerators of instance types: the one table that preflight, node groups, Karpenter and engines read.

Devices, memory, local NVMe and EFA interfaces are what DescribeInstanceTypes answers, in the order of the sizes. A type
that is newer than this table is known by its family's letters alone: `facts_of` then has no sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

AS_OF = "2026-11-22"
SOURCE = "https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html"

AcceleratorKind = Literal["cpu", "gpu", "neuron"]
_GIB = 1024


class InstanceTypesError(ValueError):
    """Instance types that one group of nodes cannot have together."""


@dataclass(frozen=True)
class Kind:
    """What a kind of accelerator means to Kubernetes and EKS.

    `resource`: what pods ask for, one for each GPU or NeuronCore; `device_resource`: for whole devices; `plugin`: the
    DaemonSet that offers them, which no AL2023 image contains; `amis`: EKS's AMI type by architecture.
    """

    resource: str = ""
    device_resource: str = ""
    plugin: str = ""
    taint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    amis: Mapping[str, str] = field(default_factory=dict)


# https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html (amiType),
# https://github.com/NVIDIA/k8s-device-plugin (the label lets its pods in where no feature discovery runs),
# https://awsdocs-neuron.readthedocs-hosted.com/en/latest/containers/kubernetes-getting-started.html
KINDS: Mapping[AcceleratorKind, Kind] = {
    "cpu": Kind(amis={"x86_64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}),
    "gpu": Kind(
        resource="nvidia.com/gpu",
        device_resource="nvidia.com/gpu",
        plugin="nvidia-device-plugin",
        taint="nvidia.com/gpu",
        labels={"nvidia.com/gpu.present": "true"},
        amis={"x86_64": "AL2023_x86_64_NVIDIA", "arm64": "AL2023_ARM_64_NVIDIA"},
    ),
    "neuron": Kind(
        resource="aws.amazon.com/neuroncore",
        device_resource="aws.amazon.com/neuron",
        plugin="neuron-device-plugin",
        taint="aws.amazon.com/neuron",
        amis={"x86_64": "AL2023_x86_64_NEURON"},
    ),
}
# The label by which pools and node selectors tell the kinds apart.
KIND_LABEL = "llm.on-eks/accelerator"


@dataclass(frozen=True)
class Size:
    """`devices`: GPUs, or Neuron chips; local NVMe in GB; EFA interfaces at most."""

    devices: int
    nvme_gb: int = 0
    efa: int = 0


@dataclass(frozen=True)
class Family:
    """Instance types with one kind of chip: memory in MiB of each device, and cores of each (1 for a GPU).

    `parallel`: over how many cores a model can be spread; empty: over any number. `compiles_as`: the Neuron compiler's
    name of the code it makes.
    """

    kind: AcceleratorKind
    chip: str
    memory_mib: int
    sizes: Mapping[str, Size]
    cores: int = 1
    parallel: tuple[int, ...] = ()
    compiles_as: str = ""


# Sizes of g5, g6 and g6e differ in NVMe alone.
def _g(xlarge: int, x2: int, x4: int, x8: int, x16: int, x12: int, x48: int, efa: tuple[int, int]) -> dict[str, Size]:
    return {
        "xlarge": Size(1, xlarge),
        "2xlarge": Size(1, x2),
        "4xlarge": Size(1, x4),
        "8xlarge": Size(1, x8, 1),
        "16xlarge": Size(1, x16, 1),
        "12xlarge": Size(4, x12, 1),
        "24xlarge": Size(4, x12, efa[0]),
        "48xlarge": Size(8, x48, efa[1]),
    }


_G7 = {"2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8}
_TRN1 = (1, 2, 8, 32)


# The driver joins two physical cores of a Trainium2 to a logical one (LNC=2): four of 24 GiB on each chip.
# https://awsdocs-neuron.readthedocs-hosted.com/en/latest/general/arch/neuron-features/logical-neuroncore-config.html
def _trn2(sizes: Mapping[str, Size]) -> Family:
    return Family("neuron", "Trainium2", 96 * _GIB, sizes, cores=4, compiles_as="trn2")


FAMILIES: Mapping[str, Family] = {
    "g4dn": Family(
        "gpu",
        "T4",
        16384,
        {
            "xlarge": Size(1, 125),
            "2xlarge": Size(1, 225),
            "4xlarge": Size(1, 225),
            "8xlarge": Size(1, 900, 1),
            "16xlarge": Size(1, 900, 1),
            "12xlarge": Size(4, 900, 1),
            "metal": Size(8, 1800, 1),
        },
    ),
    "g5": Family("gpu", "A10G", 22888, _g(250, 450, 600, 900, 1900, 3800, 7600, (1, 1))),
    "g5g": Family(
        "gpu",
        "T4g",
        16384,
        {
            **dict.fromkeys(("xlarge", "2xlarge", "4xlarge", "8xlarge"), Size(1)),
            **dict.fromkeys(("16xlarge", "metal"), Size(2)),
        },
    ),
    "g6": Family("gpu", "L4", 22888, _g(250, 450, 600, 900, 1880, 3760, 7520, (1, 1))),
    "gr6": Family("gpu", "L4", 22888, {"4xlarge": Size(1, 600), "8xlarge": Size(1, 900, 1)}),
    "g6e": Family("gpu", "L40S", 45776, _g(250, 450, 600, 900, 1900, 3800, 7600, (2, 4))),
    "g7": Family(
        "gpu",
        "RTX PRO 4500",
        32768,
        {
            size: Size(_G7[size], nvme, efa)
            for size, nvme, efa in zip(_G7, (440, 875, 930, 1900, 3800, 7600), (0, 0, 1, 1, 1, 2), strict=True)
        },
    ),
    "g7e": Family(
        "gpu",
        "RTX PRO Server 6000",
        98304,
        {
            size: Size(_G7[size], nvme, efa)
            for size, nvme, efa in zip(_G7, (1900, 1900, 1900, 3800, 7600, 15200), (0, 0, 1, 1, 2, 4), strict=True)
        },
    ),
    "p4d": Family("gpu", "A100", 40960, {"24xlarge": Size(8, 8000, 4)}),
    "p4de": Family("gpu", "A100", 81920, {"24xlarge": Size(8, 8000, 4)}),
    "p5": Family("gpu", "H100", 81920, {"4xlarge": Size(1, 3800, 1), "48xlarge": Size(8, 30400, 32)}),
    "p5e": Family("gpu", "H200", 144384, {"48xlarge": Size(8, 30400, 32)}),
    "p5en": Family("gpu", "H200", 144384, {"48xlarge": Size(8, 30400, 16)}),
    "p6-b200": Family("gpu", "B200", 183359, {"48xlarge": Size(8, 30400, 8)}),
    "p6-b300": Family("gpu", "B300", 275040, {"48xlarge": Size(8, 30400, 16)}),
    "inf2": Family(
        "neuron",
        "Inferentia2",
        32768,
        {"xlarge": Size(1), "8xlarge": Size(1), "24xlarge": Size(6), "48xlarge": Size(12)},
        cores=2,
        parallel=(1, 2, 4, 8, 12, 24),
        compiles_as="trn1",
    ),
    "trn1": Family(
        "neuron",
        "Trainium",
        32768,
        {"2xlarge": Size(1, 474), "32xlarge": Size(16, 7600, 8)},
        cores=2,
        parallel=_TRN1,
        compiles_as="trn1",
    ),
    "trn1n": Family(
        "neuron", "Trainium", 32768, {"32xlarge": Size(16, 7600, 16)}, cores=2, parallel=_TRN1, compiles_as="trn1"
    ),
    "trn2": _trn2({"3xlarge": Size(1, 470, 1), "48xlarge": Size(16, 7600, 16)}),
    "trn2u": _trn2({"48xlarge": Size(16, 7600, 16)}),
    # Its sizes are not known here yet.
    "trn3": Family("neuron", "Trainium3", 0, {}, compiles_as="trn3"),
}
# GiB of the host's own memory, the smallest of a family first: where Neuron graphs are compiled.
HOST_GIB: Mapping[str, int] = {
    "inf2.xlarge": 16,
    "inf2.8xlarge": 128,
    "inf2.24xlarge": 384,
    "inf2.48xlarge": 768,
    "trn1.2xlarge": 32,
    "trn1.32xlarge": 512,
    "trn1n.32xlarge": 512,
    "trn2.48xlarge": 2048,
    "trn2u.48xlarge": 2048,
}
# Families that are newer than the table; g4ad has GPUs of AMD, g6f fractions of one that no pod can ask for.
_NEURON, _GPU, _NO_GPU = re.compile(r"trn\d|inf[2-9]"), re.compile(r"gr?\d|p\d"), re.compile(r"g4ad|gr?6f")
# Processors of AWS: m7g, c8gn, im4gn, g5g; and Grace in p6e-gb200. https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
_ARM = re.compile(r"a1$|[a-z]+\d+g[a-z]*$|p\d+e-gb")
# The letters of a family → the vCPU quota that it counts against; all others count as standard.
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
_QUOTA_FAMILIES = {
    "g": "g",
    "gr": "g",
    "vt": "g",
    "p": "p",
    "inf": "inf",
    "trn": "trn",
    "dl": "dl",
    "f": "f",
    "x": "x",
    "u": "u",
    "hpc": "hpc",
}


@dataclass(frozen=True)
class Facts:
    """An instance type. `count`: GPUs, or NeuronCores, with `memory_mib` each; 0 where the table does not know the size."""

    instance_type: str
    kind: AcceleratorKind
    architecture: str = "x86_64"
    chip: str = ""
    devices: int = 0
    count: int = 0
    memory_mib: int = 0
    parallel: tuple[int, ...] = ()
    nvme_gb: int = 0
    efa: int = 0

    @property
    def ami_type(self) -> str:
        """EKS's AMI type; empty where AWS has no image for that kind and architecture."""
        return KINDS[self.kind].amis.get(self.architecture, "")

    @property
    def quota_family(self) -> str:
        return quota_family(self.instance_type)


def facts_of(instance_type: str) -> Facts:
    """What the table knows of a type; a type without accelerators is of kind cpu."""
    name, __, size = instance_type.partition(".")
    family = FAMILIES.get(name)
    if family is None:
        return Facts(instance_type, _kind_of(name), architecture_of(instance_type))
    known = family.sizes.get(size, Size(0))
    return Facts(
        instance_type,
        family.kind,
        architecture_of(instance_type),
        family.chip,
        known.devices,
        known.devices * family.cores,
        family.memory_mib // family.cores,
        tuple(one for one in family.parallel if one <= known.devices * family.cores),
        known.nvme_gb,
        known.efa,
    )


def architecture_of(instance_type: str) -> str:
    """`arm64` for m7g.large, `x86_64` for m7i.large and g6.xlarge."""
    return "arm64" if _ARM.match(instance_type.partition(".")[0]) else "x86_64"


def quota_family(instance_type: str) -> str:
    """The family whose vCPU quota an instance counts against: `g6.xlarge` is g."""
    found = re.match(r"[a-z]+", instance_type)
    return _QUOTA_FAMILIES.get(found[0] if found else "", "standard")


def group_of(instance_types: Sequence[str]) -> dict[str, Any]:
    """What a group of nodes of these types needs, as plain data for templates.

    `kind`, `ami_type`, `resource`, `plugin`, `taints` (Kubernetes' spelling), `labels`, `nvme` and `efa` (of every type).
    Raises InstanceTypesError where their kinds or architectures differ, or AWS has no image for them.
    """
    found = [facts_of(name) for name in instance_types]
    for what, values in (
        ("accelerators", {one.kind for one in found}),
        ("processors", {one.architecture for one in found}),
    ):
        if len(values) != 1:
            shown = ", ".join(f"{one.instance_type} ({one.kind}, {one.architecture})" for one in found) or "none"
            raise InstanceTypesError(f"instance types of one group must have the same {what}, and these are {shown}")
    first = found[0]
    if not first.ami_type:
        raise InstanceTypesError(f"AWS has no image for {first.instance_type} ({first.kind}, {first.architecture})")
    kind = KINDS[first.kind]
    return {
        "kind": first.kind,
        "architecture": first.architecture,
        "ami_type": first.ami_type,
        "resource": kind.resource,
        "device_resource": kind.device_resource,
        "plugin": kind.plugin,
        "taints": [{"key": kind.taint, "value": "true", "effect": "NoSchedule"}] if kind.taint else [],
        "labels": {**kind.labels, KIND_LABEL: first.kind} if first.kind != "cpu" else {},
        "nvme": all(one.nvme_gb for one in found),
        "efa": min(one.efa for one in found),
    }


def _kind_of(family: str) -> AcceleratorKind:
    if _NEURON.match(family):
        return "neuron"
    return "gpu" if _GPU.match(family) and not _NO_GPU.match(family) else "cpu"
