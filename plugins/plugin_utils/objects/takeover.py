# SPDX-License-Identifier: Apache-2.0
"""Takes over an object that tools wrote other than by server-side apply: their fields become ours. Pure.

Fields that our description lacks are then removed, as at the tool's own next run. Without this the fields would stay
for ever: no one who applies owns them.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils.names import FIELD_MANAGER

Document = dict[str, Any]
# What an object had before anybody applied it; kubectl's client-side apply; tools that write whole objects.
_TOOLS = re.compile(
    r"^(before-first-apply|kubectl|kubectl-client-side-apply|kubectl-create|kubectl-replace|kubectl-run|kubectl-last-applied|"
    r"helm|terraform.*|hashicorp.*|pulumi.*|ansible.*|kubernetes\.core.*|openapi-generator.*|python-requests|python.*)$",
    re.IGNORECASE,
)


def merged_fields(entries: Sequence[Mapping[str, Any]], api_version: str) -> list[dict[str, Any]] | None:
    """managedFields with the tools' entries under our name; None when there are none."""
    theirs = tool_entries(entries)
    if not theirs:
        return None
    fields: dict[str, Any] = {}
    kept: list[dict[str, Any]] = []
    for entry in entries:
        ours = (
            entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
        )
        if ours or entry in theirs:
            _union(fields, entry.get("fieldsV1") or {})
        else:
            kept.append(dict(entry))
    made = {
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": theirs[0].get("apiVersion", api_version),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return [made, *kept]


def tool_entries(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of managedFields that are taken over."""
    return [one for one in entries if _TOOLS.match(str(one.get("manager"))) and not one.get("subresource")]


def as_taken_over(planned: Document, described: Document, entries: Sequence[Mapping[str, Any]]) -> Document:
    """The dry run's result without the tools' fields that the description lacks and nobody else holds: the takeover removes them."""
    theirs = tool_entries(entries)
    if not theirs:
        return planned
    fields: dict[str, Any] = {}
    for entry in theirs:
        _union(fields, entry.get("fieldsV1") or {})
    others: dict[str, Any] = {}
    for entry in entries:
        if entry not in theirs and entry.get("manager") != FIELD_MANAGER:
            _union(others, entry.get("fieldsV1") or {})
    made = copy.deepcopy(planned)
    _drop(made, fields, described, others)
    return made


def _union(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and value:
            _union(into.setdefault(key, {}), value)
        else:
            into.setdefault(key, {})


def _drop(node: Any, fields: Mapping[str, Any], described: Any, others: Mapping[str, Any]) -> None:
    """Take out of a node what `fields` holds, what is not described and what no other manager holds."""
    for key, child in fields.items():
        kind, __, rest = key.partition(":")
        if kind == "f" and isinstance(node, dict) and rest in node:
            wanted = described.get(rest) if isinstance(described, Mapping) else None
            inner = {name: one for name, one in child.items() if name != "."}
            if inner:
                _drop(node[rest], inner, wanted, others.get(key) or {})
            if wanted is None and key not in others and (not inner or not node[rest]):
                del node[rest]
        elif kind in ("k", "v") and isinstance(node, list):
            item, wanted = _entry(node, kind, rest), _entry(described or [], kind, rest)
            if item is None:
                continue
            if wanted is None and key not in others:
                node.remove(item)
            elif isinstance(item, dict):
                _drop(item, child, wanted, others.get(key) or {})


def _entry(items: Any, kind: str, rest: str) -> Any:
    """The entry of a list that a key of fieldsV1 means."""
    key = json.loads(rest)
    if not isinstance(items, list):
        return None
    if kind == "v":
        return key if key in items else None
    for item in items:
        if isinstance(item, Mapping) and all(item.get(name, "TCP") == value for name, value in key.items()):
            return item
    return None
