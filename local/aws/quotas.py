# SPDX-License-Identifier: Apache-2.0
"""Service quotas: vCPUs by family and purchase option, addresses, VPCs. Values are those of data/quotas.json until an admin changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import network
from .errors import refuse
from .world import Params, Result, Session, guard, operation

_NAMES = {
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "vpc": "Amazon Virtual Private Cloud (Amazon VPC)",
}
_DATA = Path(__file__).parent / "data" / "quotas.json"


def quotas(session: Session) -> dict[str, dict[str, Any]]:
    """code -> row of this account and region."""
    found: dict[str, dict[str, Any]] = session.store(
        "quotas", lambda: {row["code"]: dict(row) for row in json.loads(_DATA.read_text())["quotas"]}
    )
    return found


def _row(session: Session, row: dict[str, Any], value: float) -> dict[str, Any]:
    return {
        "ServiceCode": _service(row),
        "ServiceName": _NAMES[_service(row)],
        "QuotaArn": session.arn("servicequotas", f"{_service(row)}/{row['code']}"),
        "QuotaCode": row["code"],
        "QuotaName": row["name"],
        "Value": float(value),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _find(session: Session, params: Params) -> dict[str, Any]:
    found = quotas(session).get(params["QuotaCode"])
    if found is None or params["ServiceCode"] != _service(found):
        raise refuse("quotas.no_quota")
    return found


@operation("service-quotas", "GetServiceQuota")
def get_service_quota(session: Session, params: Params) -> Result:
    """Where nothing was ever changed, there may be the default alone, which is asked for otherwise.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
    """
    row = _find(session, params)
    if row["value"] == row["default"]:
        raise refuse("quotas.no_quota")
    return {"Quota": _row(session, row, row["value"])}


@operation("service-quotas", "GetAWSDefaultServiceQuota")
def get_aws_default_service_quota(session: Session, params: Params) -> Result:
    row = _find(session, params)
    return {"Quota": _row(session, row, row["default"])}


@operation("service-quotas", "ListServiceQuotas")
def list_service_quotas(session: Session, params: Params) -> Result:
    rows = [row for row in quotas(session).values() if _service(row) == params["ServiceCode"]]
    return {"Quotas": [_row(session, row, row["value"]) for row in rows]}


@guard("ec2", "AllocateAddress")
def limit_addresses(session: Session, params: Params) -> None:
    if len(network.ec2(session).addresses) >= quotas(session)["L-0263D0A3"]["value"]:
        raise refuse("ec2.address_limit")


@guard("ec2", "CreateVpc")
def limit_vpcs(session: Session, params: Params) -> None:
    if len(network.ec2(session).vpcs) >= quotas(session)["L-F678F1CE"]["value"]:
        raise refuse("ec2.vpc_limit")


def _service(row: dict[str, Any]) -> str:
    return str(row.get("service", "ec2"))
