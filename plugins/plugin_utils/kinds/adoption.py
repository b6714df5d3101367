# SPDX-License-Identifier: Apache-2.0
"""Releases that plain Helm made: recognised, refused, or taken over when the descriptor asks for it."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Sequence

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..helm.documents import chunks, key_of, parse
from ..helm.errors import ChartError
from .base import Action, Context, Document, NodeError, subject

RELEASE_NAME = "meta.helm.sh/release-name"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"


def check_owner(live: Document, component: str, release: str, namespace: str, *, adopt: bool) -> bool:
    """Check whether plain Helm owns the object and whether it may be taken over. Raises NodeError where it may not."""
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


def release_secrets(context: Context, release: str, namespace: str) -> list[Document]:
    """Helm's own record of a release: Secrets with its values in them, newest last."""
    client = context.run.api()
    resource = client.resource("v1", "Secret")
    found = client.list(resource, namespace, labels=f"owner=helm,name={release}") if resource else []
    return sorted(found, key=lambda secret: int(secret["metadata"]["labels"].get("version") or 0))


def forget_release(context: Context, secrets: Sequence[Document]) -> list[Action]:
    """Delete Helm's record once the objects are ours: a later `helm uninstall` would delete them."""
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
    """A live object as it is once Helm's annotations are removed."""
    made = copy.deepcopy(document)
    annotations = made["metadata"].get("annotations") or {}
    for key in (RELEASE_NAME, RELEASE_NAMESPACE):
        annotations.pop(key, None)
    return made
