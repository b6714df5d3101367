# SPDX-License-Identifier: Apache-2.0
"""Values that the server allocates when it writes: a dry run shows other values than the write. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from ..describe.references import UNKNOWN

Document = dict[str, Any]
_ADDRESSES = ("clusterIP", "clusterIPs", "healthCheckNodePort")
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")


def as_planned(dry: Document, live: Document | None, described: Document) -> Document:
    """The dry run's answer with `(known after apply)` for fields that are not described and that the live object does not have yet."""
    places = {"Service": _service, "Job": _job}.get(dry["kind"])
    if places is None:
        return dry
    made = copy.deepcopy(dry)
    have = dict(_values(places, live)) if live else {}
    asked = dict(_values(places, described))
    for path, holder, key in places(made):
        if have.get(path) is None and asked.get(path) is None:
            holder[key] = [UNKNOWN] if isinstance(holder[key], list) else UNKNOWN
    return made


def _values(places: Any, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, holder, key in places(document):
        yield path, holder[key]


def _service(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(path, what holds the value, its key) of each allocated value of a Service."""
    spec = document.get("spec") or {}
    # A headless Service gets no address.
    keys = () if spec.get("clusterIP") == "None" else _ADDRESSES
    yield from ((key, spec, key) for key in keys if spec.get(key))
    for port in spec.get("ports") or []:
        if port.get("nodePort"):
            yield f"port {port.get('port')}/{port.get('protocol', 'TCP')}", port, "nodePort"


def _job(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    spec = document.get("spec") or {}
    holders = {
        "labels": (document.get("metadata") or {}).get("labels"),
        "selector": (spec.get("selector") or {}).get("matchLabels"),
        "template": ((spec.get("template") or {}).get("metadata") or {}).get("labels"),
    }
    for name, holder in holders.items():
        yield from ((f"{name} {key}", holder, key) for key in _JOB_LABELS if holder and key in holder)
