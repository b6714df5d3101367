# SPDX-License-Identifier: Apache-2.0
"""Releases that plain Helm made: recognised, refused, or taken over when the descriptor asks for it."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...module_utils.names import FIELD_MANAGER, LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..helm.documents import chunks, key_of, parse
from ..helm.errors import ChartError
from ..kubernetes.client import ApiError, Client
from .base import Action, Context, Document, NodeError, subject

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
# Helm 3 updates under this name, Helm 4 applies under it.
_MANAGERS = ("helm",)
TAKE_OVER_ATTEMPTS = 5


def check_owner(live: Document, component: str, release: str, namespace: str, *, adopt: bool) -> bool:
    """Whether plain Helm owns it and it may be taken over. Raises NodeError where it may not."""
    metadata = live["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    target = subject(live)
    if labels.get(LABEL_MANAGED_BY) == MANAGED_BY:
        other = labels.get(LABEL_COMPONENT, component)
        if other != component:
            raise NodeError(
                f"{release}: {target} belongs to component {other}; switch it off in one of the two charts, one object has one owner"
            )
        return False
    if RELEASE_NAME not in annotations:
        return False
    name, place = annotations[RELEASE_NAME], annotations.get(RELEASE_NAMESPACE, "")
    if (name, place) != (release, namespace):
        raise NodeError(
            f"{release}: {target} belongs to release {name} that Helm installed in namespace {place}; "
            f"name this release so, or run helm uninstall {name} --namespace {place} first"
        )
    if not adopt:
        raise NodeError(
            f"{release}: {target} belongs to release {name} that Helm installed in namespace {place}; set `adopt: true` "
            f"for this release to take it over as it is, or run helm uninstall {name} --namespace {place} first"
        )
    return True


def take_over(client: Client, live: Document) -> None:
    """Make the fields that Helm set ours, so that what the chart no longer sets goes, as at a Helm upgrade."""
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
            # Its controller wrote its status in between: 422 where the test found that, 409 where the write did.
            if error.status not in (409, 422) or attempt == TAKE_OVER_ATTEMPTS - 1:
                raise
        found = client.get(resource, name, namespace)


def merged_fields(entries: Sequence[Mapping[str, Any]], api_version: str) -> list[dict[str, Any]] | None:
    """managedFields with Helm's entries as ours; None when Helm has none. Pure."""
    theirs = [entry for entry in entries if entry.get("manager") in _MANAGERS and not entry.get("subresource")]
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


def release_secrets(context: Context, release: str, namespace: str) -> list[Document]:
    """Helm's own record of a release: Secrets with its values in them, newest last."""
    client = context.run.api()
    resource = client.resource("v1", "Secret")
    found = client.list(resource, namespace, labels=f"owner=helm,name={release}") if resource else []
    return sorted(found, key=lambda secret: int(secret["metadata"]["labels"].get("version") or 0))


def forget_release(context: Context, secrets: Sequence[Document]) -> list[Action]:
    """Helm's record goes once the objects are ours: a later `helm uninstall` would delete them."""
    client = context.run.api()
    resource = client.resource("v1", "Secret")
    for secret in secrets:
        if resource is None or context.run.check:
            break
        client.delete(
            resource, secret["metadata"]["name"], secret["metadata"]["namespace"], uid=secret["metadata"]["uid"]
        )
    return [Action("delete", subject(secret), before=secret) for secret in secrets]


def left_over(secrets: Sequence[Document], keys: set[str], namespace: str) -> list[Document]:
    """Objects of Helm's newest revision that the release no longer makes."""
    if not secrets:
        return []
    try:
        packed = base64.b64decode(base64.b64decode(secrets[-1]["data"]["release"]))
        manifest: str = json.loads(gzip.decompress(packed))["manifest"]
        documents = [document for chunk in chunks(manifest) for document in parse(chunk.text)]
    except (KeyError, ValueError, OSError, ChartError):
        return []
    return [document for document in documents if key_of(document, namespace) not in keys]


def without_marks(document: Document) -> Document:
    """A living object as it is once Helm's annotations are gone."""
    made = copy.deepcopy(document)
    annotations = made["metadata"].get("annotations") or {}
    for key in (RELEASE_NAME, RELEASE_NAMESPACE):
        annotations.pop(key, None)
    return made


def _union(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and value:
            _union(into.setdefault(key, {}), value)
        else:
            into.setdefault(key, {})
