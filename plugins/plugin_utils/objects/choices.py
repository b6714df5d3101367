# SPDX-License-Identifier: Apache-2.0
"""Fields of which an object may have one only: a probe by HTTP or TCP, a volume's source, a value or a reference. Pure.

Server-side apply removes only fields that we own. Where the other form is a default of the API or another tool's, the API
would see both and refuse. https://github.com/kubernetes/kubernetes/issues/24198
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils.names import FIELD_MANAGER

Document = dict[str, Any]
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
# Field -> its alternatives. An entry of a list has the list's name. https://kubernetes.io/docs/reference/kubernetes-api/
_ALTERNATIVES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe", "postStart", "preStop"), _HANDLERS),
    "env": ("value", "valueFrom"),
    "valueFrom": ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"),
}


@dataclass(frozen=True)
class Choice:
    """One place. `path`: steps to it as fieldsV1 writes them; `wanted`: what is described there; `others`: what must go."""

    path: tuple[str, ...]
    wanted: Mapping[str, Any]
    others: tuple[str, ...]


def choices_to_make(described: Document, live: Document) -> list[Choice]:
    """Places where the live object has another form than described, which our apply would not remove."""
    ours = [one for one in live["metadata"].get("managedFields") or [] if is_ours(one)]
    return [one for one in _walk(described, live, (), "") if not any(_holds(entry, one) for entry in ours)]


def deferred(described: Document, choices: Sequence[Choice]) -> Document:
    """The description without the new forms: what the API can be asked about before the old ones are gone."""
    made = copy.deepcopy(described)
    for choice in choices:
        node = _at(made, choice.path)
        for name in choice.wanted:
            node.pop(name, None)
    return made


def chosen(document: Document, choices: Sequence[Choice]) -> Document:
    """The document with the new forms in place of the old ones."""
    made = copy.deepcopy(document)
    for choice in choices:
        node = _at(made, choice.path)
        for name in choice.others:
            node.pop(name, None)
        node.update(copy.deepcopy(dict(choice.wanted)))
    return made


def held_for(entries: Sequence[Mapping[str, Any]], api_version: str, choices: Sequence[Choice]) -> list[Document]:
    """managedFields with the old forms under our name alone: then our apply removes them."""
    made = [copy.deepcopy(dict(entry)) for entry in entries]
    ours = next((entry for entry in made if is_ours(entry)), None)
    if ours is None:
        head = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": api_version}
        ours = {**head, "fieldsType": "FieldsV1", "fieldsV1": {}}
        made.append(ours)
    for choice in choices:
        for entry in made:
            if not entry.get("subresource"):
                _release(entry.get("fieldsV1") or {}, choice)
        node = ours["fieldsV1"]
        for step in choice.path:
            node = node.setdefault(step, {})
        node.update({f"f:{name}": {} for name in choice.others})
    return [entry for entry in made if entry.get("fieldsV1")]


def _walk(described: Any, live: Any, path: tuple[str, ...], name: str) -> Iterator[Choice]:
    if isinstance(described, Mapping) and isinstance(live, Mapping):
        wanted, others = _alternatives(name, described, live)
        if wanted and others:
            yield Choice(path, wanted, others)
        for key, value in described.items():
            yield from _walk(value, live.get(key), (*path, f"f:{key}"), key)
    elif isinstance(described, list) and isinstance(live, list):
        found = {item["name"]: item for item in live if isinstance(item, Mapping) and "name" in item}
        for item in described:
            if isinstance(item, Mapping) and item.get("name") in found:
                key = json.dumps({"name": item["name"]}, separators=(",", ":"))
                yield from _walk(item, found[item["name"]], (*path, f"k:{key}"), name)


def _alternatives(
    name: str, described: Mapping[str, Any], live: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """(what is described, what must go) of a place with this name."""
    if name in ("strategy", "updateStrategy"):
        rolls = described.get("type", "RollingUpdate") == "RollingUpdate"
        there = "rollingUpdate" in live and not described.get("rollingUpdate")
        return ({}, ()) if rolls or not there else ({"type": described["type"]}, ("rollingUpdate",))
    known = tuple(key for key in live if key != "name") if name == "volumes" else _ALTERNATIVES.get(name, ())
    wanted = {key: described[key] for key in (*known, *described) if key in described and _is_form(name, key)}
    return wanted, tuple(key for key in known if key in live and described.get(key) is None)


def _is_form(name: str, key: str) -> bool:
    return key != "name" if name == "volumes" else key in _ALTERNATIVES.get(name, ())


def is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")


def _holds(entry: Mapping[str, Any], choice: Choice) -> bool:
    node = _at(entry.get("fieldsV1") or {}, choice.path, fields=True)
    return node is not None and all(f"f:{name}" in node for name in choice.others)


def _release(fields: Document, choice: Choice) -> None:
    node = _at(fields, choice.path, fields=True)
    for name in choice.others:
        if node is not None:
            node.pop(f"f:{name}", None)


def _at(node: Any, path: Sequence[str], *, fields: bool = False) -> Any:
    """The place in an object, or in its fieldsV1 (there None where it does not exist)."""
    for step in path:
        kind, __, rest = step.partition(":")
        if fields:
            node = (node or {}).get(step)
        elif kind == "f":
            node = node[rest]
        else:
            node = next(item for item in node if item.get("name") == json.loads(rest)["name"])
    return node
