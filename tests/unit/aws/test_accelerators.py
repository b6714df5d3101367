# SPDX-License-Identifier: Apache-2.0
"""The table of accelerators against what EC2 itself answers, as moto has recorded it."""

from __future__ import annotations

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES

from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.accelerators import (
    FAMILIES,
    InstanceTypesError,
    facts_of,
    group_of,
)

# No engine of ours runs on these: fractions of a GPU, AMD's, and the first Inferentia, for which compilers are no longer made.
_LEFT_OUT = ("g6f", "gr6f", "g4ad", "inf1", "p3dn", "p3", "p2", "g3", "g3s")
# EC2 answers 512 GiB for a Trainium2, and its data sheet says 96.
_OTHER_MEMORY = {"trn2": 96 * 1024}


def recorded(row):
    """(kind, devices, MiB of each, GB of NVMe, EFA interfaces) of EC2's answer."""
    gpus = [one for one in (row.get("GpuInfo") or {}).get("Gpus", []) if one["Manufacturer"] == "NVIDIA"]
    chips = (row.get("NeuronInfo") or {}).get("NeuronDevices", [])
    kind = "gpu" if gpus else "neuron" if chips else "cpu"
    (first,) = (gpus or chips or [{}])[:1]
    efa = (row["NetworkInfo"].get("EfaInfo") or {}).get("MaximumEfaInterfaces", 0)
    nvme = (row.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0)
    return kind, first.get("Count", 0), (first.get("MemoryInfo") or {}).get("SizeInMiB", 0), nvme, efa


def test_every_type_with_accelerators_is_in_the_table_as_ec2_has_it():
    wrong = {}
    for name, row in INSTANCE_TYPES.items():
        kind, devices, memory, nvme, efa = recorded(row)
        family = name.partition(".")[0]
        if kind == "cpu" or family in _LEFT_OUT:
            continue
        facts = facts_of(name)
        each = facts.memory_mib * (facts.count // facts.devices) if facts.devices else 0
        have = (facts.kind, facts.devices, each, facts.nvme_gb, facts.efa)
        if have != (kind, devices, _OTHER_MEMORY.get(family, memory), nvme, efa):
            wrong[name] = have
    assert not wrong


def test_processors_are_told_by_the_name_as_ec2_has_them():
    wrong = [
        name
        for name, row in INSTANCE_TYPES.items()
        if not name.startswith("mac")
        and facts_of(name).architecture not in row["ProcessorInfo"]["SupportedArchitectures"]
    ]
    assert not wrong
    # EC2's answer for trn2u does not name its chips.
    named = [name for name, row in INSTANCE_TYPES.items() if recorded(row)[0] == "cpu" and facts_of(name).count]
    assert named == ["trn2u.48xlarge"]


@pytest.mark.parametrize(
    ("types", "ami", "taint"),
    [
        (["m7i.large", "m6i.large"], "AL2023_x86_64_STANDARD", None),
        (["m8g.large"], "AL2023_ARM_64_STANDARD", None),
        (["g6.xlarge", "g6e.xlarge"], "AL2023_x86_64_NVIDIA", "nvidia.com/gpu"),
        (["g5g.xlarge"], "AL2023_ARM_64_NVIDIA", "nvidia.com/gpu"),
        (["inf2.xlarge"], "AL2023_x86_64_NEURON", "aws.amazon.com/neuron"),
        (["p7-x.48xlarge"], "AL2023_x86_64_NVIDIA", "nvidia.com/gpu"),
    ],
)
def test_a_group_gets_the_image_and_taint_of_its_accelerator(types, ami, taint):
    found = group_of(types)
    assert found["ami_type"] == ami
    assert [one["key"] for one in found["taints"]] == ([taint] if taint else [])


@pytest.mark.parametrize("types", [["g6.xlarge", "inf2.xlarge"], ["m7i.large", "m7g.large"], []])
def test_types_that_no_image_fits_together_are_refused_by_name(types):
    with pytest.raises(InstanceTypesError, match="must have the same"):
        group_of(types)


def test_cores_of_a_type_can_be_connected():
    for name, family in FAMILIES.items():
        for size in family.sizes:
            facts = facts_of(f"{name}.{size}")
            assert facts.count >= facts.devices > 0
            assert not family.parallel or facts.parallel, f"{name}.{size}"
