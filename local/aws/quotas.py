# SPDX-License-Identifier: Apache-2.0
"""Service quotas of EC2: vCPUs by family and purchase option. Values are those of data/quotas.json until an admin changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import refuse
from .world import Params, Result, Session, operation

_DATA = Path(__file__).parent / "data" / "quotas.json"


def quotas(session: Session) -> dict[str, dict[str, Any]]:
    """code -> row of this account and region."""
    found: dict[str, dict[str, Any]] = session.store(
        "quotas", lambda: {row["code"]: dict(row) for row in json.loads(_DATA.read_text())["quotas"]}
    )
    return found


def _row(session: Session, row: dict[str, Any], value: float) -> dict[str, Any]:
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": session.arn("servicequotas", f"ec2/{row['code']}"),
        "QuotaCode": row["code"],
        "QuotaName": row["name"],
        "Value": float(value),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


def _find(session: Session, params: Params) -> dict[str, Any]:
    found = quotas(session).get(params["QuotaCode"])
    if params["ServiceCode"] != "ec2" or found is None:
        raise refuse("quotas.no_quota")
    return found


@operation("service-quotas", "GetServiceQuota")
def get_service_quota(session: Session, params: Params) -> Result:
    row = _find(session, params)
    return {"Quota": _row(session, row, row["value"])}


@operation("service-quotas", "GetAWSDefaultServiceQuota")
def get_aws_default_service_quota(session: Session, params: Params) -> Result:
    row = _find(session, params)
    return {"Quota": _row(session, row, row["default"])}


@operation("service-quotas", "ListServiceQuotas")
def list_service_quotas(session: Session, params: Params) -> Result:
    if params["ServiceCode"] != "ec2":
        return {"Quotas": []}
    return {"Quotas": [_row(session, row, row["value"]) for row in quotas(session).values()]}
