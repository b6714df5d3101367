# SPDX-License-Identifier: Apache-2.0
"""Grafana's dashboards from one list of panels (roles/prometheus/files/panels.yml)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Of Grafana's 24 columns; heights in its units of 30 pixels.
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8
_SOURCE = {"type": "prometheus", "uid": "prometheus"}


def dashboards(listed: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """`name` and `json` of each dashboard, in the model of Grafana 13."""
    return [{"name": one["name"], "json": json.dumps(_dashboard(one), sort_keys=True)} for one in listed]


def queries(listed: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(dashboard, panel, query) of every panel."""
    for board in listed:
        for panel in board["panels"]:
            for query in panel["queries"]:
                yield board["name"], panel["title"], query["expr"]


def _dashboard(board: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"llm-{board['name']}",
        "title": board["title"],
        "tags": ["llm.on_eks"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "editable": False,
        "panels": [_panel(number, panel) for number, panel in enumerate(board["panels"])],
    }


def _panel(number: int, panel: Mapping[str, Any]) -> dict[str, Any]:
    row, column = divmod(number * _WIDTH, _COLUMNS)
    return {
        "id": number + 1,
        "title": panel["title"],
        "description": panel.get("about", ""),
        "type": panel.get("kind", "timeseries"),
        "datasource": _SOURCE,
        "gridPos": {"x": column, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.get("unit", "short"), "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "expr": query["expr"],
                "legendFormat": query.get("legend", ""),
                "datasource": _SOURCE,
            }
            for place, query in enumerate(panel["queries"])
        ],
    }
