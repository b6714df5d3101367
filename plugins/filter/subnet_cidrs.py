# SPDX-License-Identifier: GPL-3.0-or-later
"""How a VPC's range is shared out among its subnets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: subnet_cidrs
short_description: Shares out a VPC's range among private and public subnets
description:
  - A private subnet takes an eighth of the range, a public one (load balancers, NAT gateways) a 256th; the private ones
    come from its beginning, the public ones from its last eighth.
  - The ranges of a zone do not change when zones are added behind it.
options:
  _input:
    description: The VPC's range, V(10.0.0.0/16) for instance; at least a V(/20).
    type: str
    required: true
  zones:
    description: How many zones; at most seven.
    type: int
    required: true
"""
EXAMPLES = r"""
private_of_two_zones: "{{ ('10.0.0.0/16' | llm.on_eks.subnet_cidrs(2)).private }}"  # 10.0.0.0/19, 10.0.32.0/19
"""
RETURN = r"""
_value:
  description: V(private) and V(public), each a list with one range for each zone.
  type: dict
"""

import ipaddress
from typing import Any

from ansible.errors import AnsibleFilterError

PRIVATE_BITS = 3
PUBLIC_BITS = 8
MOST_ZONES = 2**PRIVATE_BITS - 1
# AWS takes subnets down to a /28.
SMALLEST_VPC = 28 - PUBLIC_BITS


def subnet_cidrs(cidr: Any, zones: Any) -> dict[str, list[str]]:
    """One private and one public range for each zone. Raises AnsibleFilterError."""
    try:
        network = ipaddress.IPv4Network(str(cidr))
    except ValueError as error:
        raise AnsibleFilterError(f"{cidr!r} is not the range of a VPC: {error}; give one like 10.0.0.0/16") from None
    if not 16 <= network.prefixlen <= SMALLEST_VPC:
        raise AnsibleFilterError(f"{cidr} cannot be divided into subnets; give a range between /16 and /{SMALLEST_VPC}")
    if not 1 <= int(zones) <= MOST_ZONES:
        raise AnsibleFilterError(f"{zones} zones do not fit into {cidr}; give 1 to {MOST_ZONES}")
    eighths = list(network.subnets(PRIVATE_BITS))
    small = list(eighths[-1].subnets(PUBLIC_BITS - PRIVATE_BITS))
    return {"private": [str(one) for one in eighths[: int(zones)]], "public": [str(one) for one in small[: int(zones)]]}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"subnet_cidrs": subnet_cidrs}
