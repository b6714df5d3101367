# SPDX-License-Identifier: GPL-3.0-or-later
"""The partition of a region, for ARNs that a role writes itself."""

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_partition
short_description: The partition that a region belongs to
description: ARNs begin with it; it follows from the region's name alone.
options:
  _input:
    description: A region, V(eu-central-1) for instance.
    type: str
    required: true
"""
EXAMPLES = r"""
images: "arn:{{ platform_aws_region | llm.on_eks.aws_partition }}:ec2:{{ platform_aws_region }}::image/*"
"""
RETURN = r"""
_value:
  description: V(aws), V(aws-cn), V(aws-us-gov) and so on.
  type: str
"""

from typing import Any

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b"}


def aws_partition(region: Any) -> str:
    """`aws-cn` for cn-north-1."""
    return next((name for start, name in PARTITIONS.items() if str(region).startswith(start)), "aws")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"aws_partition": aws_partition}
