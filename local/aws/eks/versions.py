# SPDX-License-Identifier: Apache-2.0
"""Kubernetes versions of EKS and their support dates, from data/eks_versions.json."""

from __future__ import annotations

import datetime
import functools
import json
from pathlib import Path
from typing import Any

from ..world import Params, Result, Session, operation

_DATA = Path(__file__).parent.parent / "data" / "eks_versions.json"


@functools.cache
def _table() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(_DATA.read_text())["versions"]
    return rows


def known_versions() -> list[str]:
    return [row["version"] for row in _table()]


def default_version() -> str:
    return next(str(row["version"]) for row in _table() if row.get("default"))


@operation("eks", "DescribeClusterVersions")
def describe_cluster_versions(session: Session, params: Params) -> Result:
    rows = [_row(row, session.now()) for row in reversed(_table())]
    if params.get("clusterVersions"):
        rows = [row for row in rows if row["clusterVersion"] in params["clusterVersions"]]
    if params.get("defaultOnly"):
        rows = [row for row in rows if row["defaultVersion"]]
    if params.get("versionStatus"):
        rows = [row for row in rows if row["versionStatus"] == params["versionStatus"]]
    elif not params.get("includeAll"):
        rows = [row for row in rows if row["versionStatus"] != "UNSUPPORTED"]
    return {"clusterVersions": rows}


def _row(row: dict[str, Any], now: datetime.datetime) -> dict[str, Any]:
    standard, extended = _date(row["standard_ends"]), _date(row["extended_ends"])
    state = "STANDARD_SUPPORT" if now < standard else "EXTENDED_SUPPORT" if now < extended else "UNSUPPORTED"
    return {
        "clusterVersion": row["version"],
        "clusterType": "eks",
        "defaultPlatformVersion": "eks.1",
        "defaultVersion": bool(row.get("default")),
        "releaseDate": _date(row["released"]),
        "endOfStandardSupportDate": standard,
        "endOfExtendedSupportDate": extended,
        "status": state.lower().replace("_", "-"),
        "versionStatus": state,
        "kubernetesPatchVersion": row["patch"],
    }


def _date(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
