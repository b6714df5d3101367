# SPDX-License-Identifier: Apache-2.0
"""Prices of instances, on demand and spot. The figures follow from an instance's size; they are not AWS's.

A larger instance costs more, and spot prices differ by type and zone: so whoever looks for the cheapest finds one.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .world import Params, Result, Session, operation, overlay

# USD an hour for a vCPU, a GiB of memory, a GPU or Neuron chip.
_VCPU, _GIB, _CHIP = 0.035, 0.004, 0.55


def on_demand(instance_type: str) -> float:
    """USD an hour; 0 for a type that does not exist."""
    row = INSTANCE_TYPES.get(instance_type)
    if row is None:
        return 0.0
    chips = sum(one.get("Count", 0) for one in [*_of(row, "GpuInfo", "Gpus"), *_of(row, "NeuronInfo", "NeuronDevices")])
    size: float = row["VCpuInfo"]["DefaultVCpus"] * _VCPU + row["MemoryInfo"]["SizeInMiB"] / 1024 * _GIB + chips * _CHIP
    # Types of the same size differ a little.
    return round(size * (1 + _share(instance_type) / 10), 5)


def spot(instance_type: str, zone: str) -> float:
    """USD an hour: a quarter to a half of the price on demand."""
    return round(on_demand(instance_type) * (0.25 + _share(f"{instance_type} {zone}") / 4), 6)


def _of(row: dict[str, Any], group: str, member: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (row.get(group) or {}).get(member) or []
    return found


def _share(text: str) -> float:
    """From 0 to 1, always the same for a text."""
    return zlib.crc32(text.encode()) % 1000 / 1000


@operation("pricing", "GetProducts")
def get_products(session: Session, params: Params) -> Result:
    """https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html"""
    wanted = {one["Field"]: one["Value"] for one in params.get("Filters") or []}
    if params["ServiceCode"] != "AmazonEC2" or wanted.get("marketoption", "OnDemand") != "OnDemand":
        return {"FormatVersion": "aws_v1", "PriceList": []}
    names = [name for name in sorted(INSTANCE_TYPES) if wanted.get("instanceType") in (None, name)]
    return {"FormatVersion": "aws_v1", "PriceList": [_product(name, wanted.get("regionCode", "")) for name in names]}


def _product(name: str, region: str) -> str:
    sku = f"{zlib.crc32(name.encode()):08X}"
    dimension = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "pricePerUnit": {"USD": f"{on_demand(name):.10f}"},
    }
    attributes = {"instanceType": name, "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared"}
    return json.dumps(
        {
            "product": {"productFamily": "Compute Instance", "attributes": attributes, "sku": sku},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {f"{sku}.X": {"priceDimensions": {f"{sku}.X.Y": dimension}, "sku": sku}}},
        }
    )


@overlay("ec2", "DescribeSpotPriceHistory")
def describe_spot_price_history(session: Session, params: Params, result: Result) -> Result:
    """In moto all types cost the same."""
    for row in result.get("SpotPriceHistory") or []:
        row["SpotPrice"] = f"{spot(row['InstanceType'], row['AvailabilityZone']):.6f}"
    return result
