# SPDX-License-Identifier: Apache-2.0
"""Claims that StatefulSets make from their templates: they carry no mark, and Kubernetes leaves them when the set goes.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..kubernetes.client import Client
from .base import Document


def claims_of(client: Client, documents: Sequence[Document]) -> list[Document]:
    """The claims of the StatefulSets among these live objects, and of those that operators made of these objects."""
    return [claim for __, claim in claims_by_template(client, documents)]


def claims_by_template(client: Client, documents: Sequence[Document]) -> list[tuple[str, Document]]:
    """The same, each with the name of its template."""
    uids = {document["metadata"]["uid"] for document in documents}
    places = sorted({document["metadata"].get("namespace", "") for document in documents} - {""})
    return [found for place in places for found in _claims(client, place, uids)]


def _claims(client: Client, namespace: str, uids: set[str]) -> Iterator[tuple[str, Document]]:
    sets = [one for one in _listed(client, "apps/v1", "StatefulSet", namespace) if _uids(one) & uids]
    templates = [
        (template["metadata"]["name"], one["metadata"]["name"])
        for one in sets
        for template in one["spec"].get("volumeClaimTemplates") or []
    ]
    if not templates:
        return
    for claim in _listed(client, "v1", "PersistentVolumeClaim", namespace):
        for template, owner in templates:
            if re.fullmatch(rf"{re.escape(template)}-{re.escape(owner)}-\d+", claim["metadata"]["name"]):
                yield template, claim


def _uids(document: Document) -> set[str]:
    """Its own, and its owners'."""
    metadata = document["metadata"]
    return {metadata["uid"], *(owner["uid"] for owner in metadata.get("ownerReferences") or [])}


def _listed(client: Client, version: str, kind: str, namespace: str) -> list[Document]:
    resource = client.resource(version, kind)
    return client.list(resource, namespace) if resource else []
