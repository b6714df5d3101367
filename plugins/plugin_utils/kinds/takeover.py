# SPDX-License-Identifier: Apache-2.0
"""Makes fields ours that other tools wrote, so that our apply removes what we do not describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ...module_utils.names import FIELD_MANAGER
from ..kubernetes.client import ApiError, Client
from ..objects.choices import Choice, held_for
from ..objects.takeover import merged_fields
from .autoscaled import without_replicas
from .base import Document, subject

TAKE_OVER_ATTEMPTS = 5
# managedFields and apiVersion -> the new managedFields; None where nothing is to be changed.
_Rewrite = Callable[[list[Any], str], list[Document] | None]


def take_over(client: Client, live: Document) -> None:
    """Make the fields that Helm or another tool set ours.

    Fields that our description lacks are removed, as that tool's next run would do.
    """
    _rewrite(client, live, merged_fields)


def hold(client: Client, live: Document, choices: Sequence[Choice]) -> None:
    """Make the old forms of these places ours."""
    _rewrite(client, live, lambda entries, api_version: held_for(entries, api_version, choices))


def give_up_replicas(client: Client, live: Document) -> None:
    """Let go of the replicas, which an autoscaler sets from now on."""
    _rewrite(client, live, without_replicas)


def _rewrite(client: Client, live: Document, rewrite: _Rewrite) -> None:
    """Change an object's managedFields, and nothing else of it."""
    resource = client.resource(live["apiVersion"], live["kind"])
    if resource is None:
        return
    name, namespace = live["metadata"]["name"], live["metadata"].get("namespace", "")
    found = client.get(resource, name, namespace)
    for attempt in range(TAKE_OVER_ATTEMPTS):
        managed = found and rewrite(found["metadata"].get("managedFields") or [], live["apiVersion"])
        if not found or not managed:
            return
        patch = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": managed},
        ]
        try:
            client.request(
                "PATCH",
                resource.path(namespace, name),
                query={"fieldManager": FIELD_MANAGER},
                body=msgspec.json.encode(patch),
                content_type="application/json-patch+json",
                what=subject(live),
            )
            return
        except ApiError as error:
            # A controller wrote the object's status meanwhile: 422 when the JSON patch's test notices, 409 when the
            # write does.
            if error.status not in (409, 422) or attempt == TAKE_OVER_ATTEMPTS - 1:
                raise
        found = client.get(resource, name, namespace)
