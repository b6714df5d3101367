# SPDX-License-Identifier: Apache-2.0
"""Takes over the fields that other tools wrote, as objects/takeover.py says."""

from __future__ import annotations

import msgspec

from ...module_utils.names import FIELD_MANAGER
from ..kubernetes.client import ApiError, Client
from ..objects.takeover import merged_fields
from .base import Document, subject

TAKE_OVER_ATTEMPTS = 5


def take_over(client: Client, live: Document) -> None:
    """Make the fields that Helm or another tool set ours.

    Fields that our description lacks are removed, as that tool's next run would do.
    """
    resource = client.resource(live["apiVersion"], live["kind"])
    if resource is None:
        return
    name, namespace = live["metadata"]["name"], live["metadata"].get("namespace", "")
    found: Document | None = live
    for attempt in range(TAKE_OVER_ATTEMPTS):
        managed = found and merged_fields(found["metadata"].get("managedFields") or [], found["apiVersion"])
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
