# SPDX-License-Identifier: Apache-2.0
"""A described object as it is sent to the API: without fields that the server or a controller sets. Pure."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from typing import Any

from .compare import SERVER_METADATA

Document = dict[str, Any]
# Fields that a controller fills by design where the object asks for it: (kind, when, path).
# ClusterRole: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles ("rules are overwritten").
_FILLED: tuple[tuple[str, Callable[[Mapping[str, Any]], bool], tuple[str, ...]], ...] = (
    ("ClusterRole", lambda document: bool(document.get("aggregationRule")), ("rules",)),
)


def as_applied(document: Document) -> Document:
    """A copy without server-set fields (of an exported manifest) and fields that a controller fills; Secrets as `data`."""
    made = {key: copy.deepcopy(value) for key, value in document.items() if key != "status"}
    made["metadata"] = {
        key: value for key, value in made["metadata"].items() if key not in SERVER_METADATA and value is not None
    }
    for kind, applies, path in _FILLED:
        if made["kind"] == kind and applies(made):
            _drop(made, path)
    return _with_data(made) if made["kind"] == "Secret" and made["apiVersion"] == "v1" else made


def _drop(document: Document, path: tuple[str, ...]) -> None:
    node: Any = document
    for step in path[:-1]:
        node = node.get(step) or {}
    node.pop(path[-1], None)


def _with_data(document: Document) -> Document:
    """The Secret with `stringData` moved to `data`: then a key that is removed from the description is removed from the cluster."""
    plain = document.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(str(value or "").encode()).decode() for key, value in plain.items()}
        document["data"] = {**(document.get("data") or {}), **encoded}
    return document
