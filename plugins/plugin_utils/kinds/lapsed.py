# SPDX-License-Identifier: Apache-2.0
"""Keys of a Secret that an earlier description wrote by `stringData`. No field manager holds them, so no apply removes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import msgspec

from ...module_utils.names import FIELD_MANAGER, LABEL_COMPONENT
from ..kubernetes.client import Client, Resource
from ..objects.identity import identity
from .base import Context, Document, subject


def lapsed_keys(context: Context, document: Document, live: Document | None) -> list[str]:
    """Keys of the live Secret that our last description had, this one lacks, and no field manager holds."""
    if live is None or document["kind"] != "Secret":
        return []
    metadata = live["metadata"]
    held: set[str] = set()
    for entry in metadata.get("managedFields") or []:
        held |= {key.removeprefix("f:") for key in (entry.get("fieldsV1") or {}).get("f:data") or {}}
    free = set(live.get("data") or {}) - set(document.get("data") or {}) - held
    return sorted(free & _last_keys(context, document, metadata)) if free else []


def _last_keys(context: Context, document: Document, metadata: Document) -> set[str]:
    """The keys of the Secret in the component's last applied revision."""
    component = (metadata.get("labels") or {}).get(LABEL_COMPONENT, "")
    applied = context.run.recorder.applied(component)
    if applied is None:
        return set()
    for one in context.run.recorder.documents(component, applied.number):
        if identity(one) == identity(document):
            return {*(one.get("data") or {}), *(one.get("stringData") or {})}
    return set()


def without_keys(planned: Document, keys: Sequence[str]) -> Document:
    if not keys:
        return planned
    made = copy.deepcopy(planned)
    for key in keys:
        made["data"].pop(key, None)
    return made


def remove_keys(client: Client, resource: Resource, made: Document, keys: Sequence[str]) -> Document:
    metadata = made["metadata"]
    answer = client.request(
        "PATCH",
        resource.path(metadata.get("namespace", ""), metadata["name"]),
        query={"fieldManager": FIELD_MANAGER},
        body=msgspec.json.encode({"data": dict.fromkeys(keys)}),
        content_type="application/merge-patch+json",
        what=subject(made),
    )
    patched: Document = msgspec.json.decode(answer)
    return patched
