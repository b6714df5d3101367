# SPDX-License-Identifier: Apache-2.0
"""Service quotas that a platform meets: their codes, and which of them an instance counts against."""

from __future__ import annotations

from collections.abc import Mapping

from .accelerators import quota_family

AS_OF = "2026-11-22"
SOURCE = "https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html"

# vCPU quotas of EC2, by family and purchase option.
QUOTAS: Mapping[tuple[str, str], str] = {
    ("standard", "on-demand"): "L-1216C47A",
    ("g", "on-demand"): "L-DB2E81BA",
    ("p", "on-demand"): "L-417A185B",
    ("inf", "on-demand"): "L-1945791B",
    ("trn", "on-demand"): "L-2C3B7624",
    ("dl", "on-demand"): "L-6E869C2A",
    ("f", "on-demand"): "L-74FC7D96",
    ("x", "on-demand"): "L-7295265B",
    ("u", "on-demand"): "L-43DA4232",
    ("hpc", "on-demand"): "L-F7808C92",
    ("standard", "spot"): "L-34B43A08",
    ("g", "spot"): "L-3819A6DF",
    ("p", "spot"): "L-7212CCBC",
    ("p5", "spot"): "L-C4BD4855",
    ("inf", "spot"): "L-B5D1601B",
    ("trn", "spot"): "L-6B0D517C",
    ("dl", "spot"): "L-85EED4F7",
    ("f", "spot"): "L-88CF9481",
    ("x", "spot"): "L-E3A00192",
}
# Others: name → service, code, and what they count.
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
COUNTS: Mapping[str, tuple[str, str, str]] = {
    "elastic-ip": ("ec2", "L-0263D0A3", "elastic IP addresses"),
    "vpc": ("vpc", "L-F678F1CE", "VPCs"),
}


def quota_key(instance_type: str, *, spot: bool = False) -> tuple[str, str]:
    """The key in QUOTAS that an instance counts against: spot of p5 has one of its own."""
    family = quota_family(instance_type)
    if spot and instance_type.startswith("p5"):
        family = "p5"
    return family, "spot" if spot else "on-demand"
