# SPDX-License-Identifier: Apache-2.0
"""What cannot be in one node group: an image and what only EKS's images have, a placement and its zones. Asks AWS nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ...findings import Finding
from ..described import NodeGroup
from ..facts import Facts
from ..wanted import Wanted

# A rack spread group has at most seven instances in a zone:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html
_SPREAD = 7
# EKS makes no image of Amazon Linux 2 beyond this Kubernetes version.
_AMAZON_LINUX_2 = "1.32"


def groups(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Every node group can be made and started as it is described."""
    for group in wanted.node_groups:
        for option, problem, mend in (*_image(group), *_placement(group), *_age(group, wanted.version)):
            yield Finding(f"{group.variable}[{group.name}].{option}", problem, mend, wanted.places.get(group.variable))


def _image(group: NodeGroup) -> Iterator[tuple[str, str, str]]:
    image, kind = group.said.get("image_id"), str(group.said.get("ami_type") or "")
    if not image:
        return
    if kind.startswith("BOTTLEROCKET"):
        problem = (
            f"is {image} with ami_type {kind}: an image of your own is joined by nodeadm, which Bottlerocket lacks"
        )
        yield "image_id", problem, "take an image built on EKS's Amazon Linux 2023, and leave ami_type out"
    for option in ("version", "release_version"):
        if group.said.get(option):
            problem = (
                f"is {group.said[option]} beside image_id {image}, and EKS takes no version with an image of your own"
            )
            yield option, problem, "leave it out: Kubernetes on these nodes is the image's"


def _placement(group: NodeGroup) -> Iterator[tuple[str, str, str]]:
    placement = group.said.get("placement")
    if placement == "cluster" and group.subnets > 1:
        problem = f"is cluster with {group.subnets} zones, and such a placement group cannot leave one zone"
        yield "placement", problem, "give zones with one zone"
    if placement == "spread" and group.maximum > _SPREAD * group.subnets:
        problem = f"is spread with up to {group.maximum} nodes, and EC2 places {_SPREAD} in a zone ({group.subnets} zones here)"
        yield "placement", problem, f"set max_size to {_SPREAD * group.subnets} at most, or take partition"


def _age(group: NodeGroup, version: str) -> Iterator[tuple[str, str, str]]:
    kind = str(group.said.get("ami_type") or "")
    if kind.startswith("AL2_") and version and _minor(version) > _minor(_AMAZON_LINUX_2):
        problem = f"is {kind}, which EKS has up to Kubernetes {_AMAZON_LINUX_2}, and cluster_version is {version}"
        yield "ami_type", problem, "leave it out for Amazon Linux 2023"


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
