# SPDX-License-Identifier: Apache-2.0
"""Who set which field of an object and when, read from its managedFields. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils.names import FIELD_MANAGER

Document = dict[str, Any]
# Tools with which people make changes by hand; every other manager of a field counts as a controller.
_HANDS = re.compile(
    r"^(kubectl.*|oc|helm|k9s|lens.*|headlamp.*|dashboard.*|mozilla.*|curl.*|openapi-generator.*|python.*|node-fetch.*|"
    r"terraform.*|hashicorp.*|pulumi.*|ansible.*|kubernetes\.core.*)$",
    re.IGNORECASE,
)
# Fields that people set in passing, which are no change of the description.
_PASSING = ("kubectl.kubernetes.io/restartedAt", "kubectl.kubernetes.io/last-applied-configuration")


@dataclass(frozen=True)
class Owner:
    """A field manager, and when it last wrote (UTC, as the API says it)."""

    manager: str
    time: str = ""

    def __str__(self) -> str:
        return f"{self.manager}{f' at {self.time}' if self.time else ''}"


def owner_of(live: Document, path: str) -> Owner | None:
    """Who else than we holds the field at a path as compare.py writes it. Where nobody does: the last writer of the object."""
    others = [entry for entry in _entries(live) if entry.get("manager") != FIELD_MANAGER]
    steps = _steps(path)
    holders = [entry for entry in others if _holds(entry.get("fieldsV1") or {}, steps)]
    hands = [entry for entry in others if _HANDS.match(str(entry.get("manager")))]
    newest = max(holders or hands, key=lambda entry: str(entry.get("time")), default=None)
    return Owner(str(newest.get("manager")), str(newest.get("time") or "")) if newest else None


def extra_fields(live: Document) -> list[tuple[str, Any, Owner]]:
    """(path, value, who) of fields that somebody added by hand and that our description does not contain."""
    ours = {
        path
        for entry in _entries(live)
        if entry.get("manager") == FIELD_MANAGER
        for path, __ in _leaves(entry.get("fieldsV1") or {}, live, "")
    }
    found = {}
    for entry in _entries(live):
        if not _HANDS.match(str(entry.get("manager"))):
            continue
        owner = Owner(str(entry.get("manager")), str(entry.get("time") or ""))
        for path, value in _leaves(entry.get("fieldsV1") or {}, live, ""):
            if path not in ours and not any(name in path for name in _PASSING):
                found[path] = (path, value, owner)
    return _folded(list(found.values()), ours)


def _entries(live: Document) -> Sequence[Mapping[str, Any]]:
    entries = (live.get("metadata") or {}).get("managedFields") or []
    return [entry for entry in entries if entry.get("subresource") != "status"]


def _steps(path: str) -> list[str]:
    return [match[1] or match[2] for match in re.finditer(r"\[([^\]]+)\]|([^.\[\]]+)", path)]


def _holds(fields: Mapping[str, Any], steps: Sequence[str]) -> bool:
    node = fields
    for step in steps:
        if not node:
            return True  # an ancestor is owned as a whole
        found = next((child for key, child in node.items() if _is_step(key, step)), None)
        if found is None:
            return False
        node = found
    return True


def _is_step(key: str, step: str) -> bool:
    kind, __, rest = key.partition(":")
    if kind == "f":
        return rest == step
    if kind == "k":
        return any(str(value) == step for value in json.loads(rest).values())
    if kind == "v":
        return str(json.loads(rest)) == step
    return False


def _leaves(fields: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field that a manager holds: its path and its value. Fields that no longer exist are left out."""
    children = {key: child for key, child in fields.items() if key != "."}
    if not children:
        if path and value is not None:
            yield path, value
        return
    for key, child in children.items():
        kind, __, rest = key.partition(":")
        if kind == "f" and isinstance(value, Mapping):
            shown = rest if re.fullmatch(r"[A-Za-z0-9_-]+", rest) else f"[{rest}]"
            joined = f"{path}{'' if shown.startswith('[') or not path else '.'}{shown}"
            if rest in value:
                yield from _leaves(child, value[rest], joined)
        elif kind == "k" and isinstance(value, list):
            wanted = json.loads(rest)
            for item in value:
                if isinstance(item, Mapping) and all(_same(item.get(name), want) for name, want in wanted.items()):
                    first = next(iter(wanted.values()), None)
                    yield from _leaves(child, item, f"{path}[{first}]")
        elif kind == "v" and isinstance(value, list) and json.loads(rest) in value:
            yield f"{path}[{json.loads(rest)}]", json.loads(rest)


def _same(value: Any, wanted: Any) -> bool:
    # A port without a protocol is listed under its default.
    return value == wanted or (value is None and wanted == "TCP")


def _folded(found: list[tuple[str, Any, Owner]], ours: set[str]) -> list[tuple[str, Any, Owner]]:
    """A list entry that is foreign as a whole counts as one field: `env[X]`, not its name and its value."""
    made: dict[str, tuple[str, Any, Owner]] = {}
    for path, value, owner in found:
        entry = next((head for head in _entries_on(path) if not any(one.startswith(head) for one in ours)), "")
        if not entry or entry == path:
            made[path] = (path, value, owner)
            continue
        before = made.get(entry, (entry, {}, owner))[1]
        made[entry] = (entry, {**before, path[len(entry) :].lstrip("."): value}, owner)
    return list(made.values())


def _entries_on(path: str) -> Iterator[str]:
    """Every list entry on the way to a path, the outermost first."""
    for match in re.finditer(r"[A-Za-z0-9_-]\[[^\]]+\]", path):
        yield path[: match.end()]
