# SPDX-License-Identifier: Apache-2.0
"""Prices per hour in USD, us-east-1, on demand, Linux: an estimate for plans and reports, not a bill.

Rounded from https://aws.amazon.com/ec2/pricing/on-demand/, /eks/pricing/, /vpc/pricing/, /privatelink/pricing/, /efs/pricing/,
/ebs/pricing/, /kms/pricing/; prices of other regions differ by up to a third. Own figures go before these. What is not here is
unknown, and is called so.
"""

from __future__ import annotations

from collections.abc import Mapping

AS_OF = "2025-12-31"
REGION = "us-east-1"

INSTANCES: dict[str, float] = {
    "m6i.large": 0.096,
    "m6i.xlarge": 0.192,
    "m7i.large": 0.1008,
    "m7i.xlarge": 0.2016,
    "m7i.2xlarge": 0.4032,
    "c7i.4xlarge": 0.714,
    "r7i.2xlarge": 0.5292,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.12xlarge": 5.672,
    "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.12xlarge": 4.6016,
    "g6.48xlarge": 13.3504,
    "g6e.xlarge": 1.861,
    "g6e.2xlarge": 2.24208,
    "g6e.12xlarge": 10.49264,
    "g6e.48xlarge": 30.13118,
    "inf2.xlarge": 0.7582,
    "inf2.8xlarge": 1.96786,
    "inf2.24xlarge": 6.49063,
    "inf2.48xlarge": 12.98127,
    "trn1.2xlarge": 1.34375,
    "trn1.32xlarge": 21.5,
}
FIXED: dict[str, float] = {
    "eks_cluster": 0.10,
    "eks_cluster_extended_support": 0.60,
    "nat_gateway": 0.045,
    "interface_endpoint_per_zone": 0.01,
    "network_load_balancer": 0.0225,
    "public_ipv4": 0.005,
}
# USD a month for a GiB (for a key: each), as AWS publishes them.
_HOURS_A_MONTH = 730
_MONTHLY: dict[str, float] = {
    "efs_gib": 0.30,
    "gp3_gib": 0.08,
    "gp2_gib": 0.10,
    "io2_gib": 0.125,
    "snapshot_gib": 0.05,
    "kms_key": 1.0,
}


def per_hour(instance_type: str, own: Mapping[str, float] | None = None) -> float | None:
    """USD for an hour of an instance; None where the price is not known."""
    return (own or {}).get(instance_type, INSTANCES.get(instance_type))


def per_hour_of(what: str, amount: float = 1) -> float | None:
    """USD for an hour of this number of something in FIXED, or GiB of a kind of storage; None where the price is not known."""
    each = FIXED.get(what)
    if each is None and what in _MONTHLY:
        each = _MONTHLY[what] / _HOURS_A_MONTH
    return None if each is None else each * amount
