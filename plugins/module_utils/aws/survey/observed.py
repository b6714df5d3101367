# SPDX-License-Identifier: Apache-2.0
"""What ages, asked of the account: support of Kubernetes versions, add-on versions and prices. Read only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..base.connection import Connection
from ..base.errors import AwsError
from ..eks.addon import pick_version
from .lookups import ask, cluster_versions


def observed(
    connection: Connection, today: str, instance_types: Sequence[str], addons: Mapping[str, Iterable[str]]
) -> tuple[dict[str, Any], list[str]]:
    """(the data, one sentence for each part that could not be asked). `addons`: Kubernetes version → names.

    Raises AwsError where not even the versions can be asked.
    """
    versions = cluster_versions(connection)
    found: dict[str, Any] = {
        "as_of": today,
        "region": connection.region,
        "kubernetes": {
            row.version: {"support": row.support, "standard_support_ends": row.standard_support_ends}
            for row in versions
        },
        "addons": {},
        "prices": {},
    }
    unseen = []
    for version, names in addons.items():
        found["addons"][version] = {name: _addon(connection, name, version) for name in sorted(set(names))}
    for name in sorted(set(instance_types)):
        try:
            price = price_of(connection, name)
        except AwsError as error:
            unseen.append(str(error))
            break
        if price is not None:
            found["prices"][name] = price
    return found, unseen


def price_of(connection: Connection, instance_type: str) -> float | None:
    """USD an hour of an instance in the region: on demand, Linux, shared. None: AWS has no such price. Raises AwsError.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
    """
    wanted = {
        "regionCode": connection.region,
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "tenancy": "Shared",
        "marketoption": "OnDemand",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    rows = ask(
        *(connection, f"price of {instance_type}", "pricing", "get_products", "PriceList"),
        ServiceCode="AmazonEC2",
        Filters=filters,
    )
    prices = [price for row in rows for price in _usd(json.loads(row))]
    return min(prices, default=None)


def _usd(product: Mapping[str, Any]) -> Iterable[float]:
    for term in (product.get("terms") or {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float((dimension.get("pricePerUnit") or {}).get("USD", 0))
            if price:
                yield price


def _addon(connection: Connection, name: str, version: str) -> str:
    rows = ask(
        *(connection, f"EKS add-on {name}", "eks", "describe_addon_versions", "addons"),
        addonName=name,
        kubernetesVersion=version,
    )
    return pick_version(rows, version, "default")
