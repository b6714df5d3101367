# SPDX-License-Identifier: Apache-2.0
"""What is known of an applied release: a ConfigMap beside it, with digests and names, never values."""

from __future__ import annotations

import msgspec

from ...module_utils.names import FIELD_MANAGER, LABEL_MANAGED_BY, MANAGED_BY
from .base import Context, Document

LABEL_RELEASE = "llm.on-eks/release"
_KEY = "release.json"


class Entry(msgspec.Struct, frozen=True):
    """One object of a release."""

    apiVersion: str
    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others; the served version does not."""
        return self.apiVersion.rpartition("/")[0], self.kind, self.namespace, self.name


class ReleaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs`: digest of chart, values and names as last applied whole, empty while the first time is not through.

    `upgrade`: whether it was rendered as an upgrade; `objects`: everything that may be there;
    `removal_hooks`: whether the chart has something to run at its removal.
    """

    component: str
    release: str
    chart: str = ""
    version: str = ""
    digest: str = ""
    inputs: str = ""
    upgrade: bool = False
    removal_hooks: bool = False
    objects: list[Entry] = []


def read(context: Context, release: str, namespace: str) -> ReleaseRecord | None:
    """None where the release was never applied."""
    if context.client is None:
        return None
    resource = context.client.resource("v1", "ConfigMap")
    live = context.client.get(resource, _name(release), namespace) if resource else None
    text = ((live or {}).get("data") or {}).get(_KEY)
    try:
        return msgspec.json.decode(text, type=ReleaseRecord) if text else None
    except msgspec.MsgspecError:
        return None  # of a form that we do not know: the next run writes it anew


def write(context: Context, record: ReleaseRecord, namespace: str) -> None:
    resource = context.api().resource("v1", "ConfigMap")
    if resource is None:
        raise AssertionError("every API server has ConfigMaps")
    document: Document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _name(record.release),
            "namespace": namespace,
            # No component's label: it is the last to go at a removal, after the hooks that follow it.
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_RELEASE: record.release},
        },
        "data": {_KEY: msgspec.json.encode(record).decode()},
    }
    context.api().apply(resource, document, force=True)


def forget(context: Context, release: str, namespace: str) -> None:
    resource = context.api().resource("v1", "ConfigMap")
    if resource:
        context.api().delete(resource, _name(release), namespace)


def _name(release: str) -> str:
    return f"{FIELD_MANAGER.replace('_', '-')}.release.{release}"
