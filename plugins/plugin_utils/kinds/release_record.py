# SPDX-License-Identifier: Apache-2.0
"""How a release was last rendered, kept in the cluster: digests and versions, never values.

Its objects are in the component's record. This record says what the next rendering must know, for example whether it is
an upgrade.
"""

from __future__ import annotations

import msgspec

from ...module_utils.names import LABEL_MANAGED_BY, LABEL_RECORD, MANAGED_BY, NAMESPACE_SYSTEM
from .base import Context, Document

_KEY = "release.json"


class ReleaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs`: digest of chart, values and names as last applied completely; empty until the first run has finished.

    `upgrade`: whether it was rendered as an upgrade; `removal_hooks`: whether the chart runs hooks at its removal.
    """

    component: str
    release: str
    chart: str = ""
    version: str = ""
    digest: str = ""
    inputs: str = ""
    upgrade: bool = False
    removal_hooks: bool = False


def read(context: Context, component: str, release: str) -> ReleaseRecord | None:
    """None where the release was never applied."""
    live = context.run.live("v1", "ConfigMap", _name(component, release), NAMESPACE_SYSTEM)
    text = ((live or {}).get("data") or {}).get(_KEY)
    try:
        return msgspec.json.decode(text, type=ReleaseRecord) if text else None
    except msgspec.MsgspecError:
        return None  # The format is unknown: the next run writes the record again.


def write(context: Context, record: ReleaseRecord) -> None:
    resource = context.run.api().resource("v1", "ConfigMap")
    if resource is None:
        raise AssertionError("every API server has ConfigMaps")
    document: Document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": _name(record.component, record.release),
            "namespace": NAMESPACE_SYSTEM,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_RECORD: "release"},
        },
        "data": {_KEY: msgspec.json.encode(record).decode()},
    }
    context.run.api().apply(resource, document, force=True)


def note_rollback(context: Context, component: str) -> None:
    """Note that the component's releases are at an earlier revision: the next run is an upgrade, with its hooks."""
    resource = context.run.api().resource("v1", "ConfigMap")
    if resource is None:
        return
    for live in context.run.api().list(resource, NAMESPACE_SYSTEM, labels=f"{LABEL_RECORD}=release"):
        record = msgspec.json.decode(live["data"][_KEY], type=ReleaseRecord)
        if record.component == component:
            write(context, msgspec.structs.replace(record, inputs="rolled back", upgrade=True))


def forget(context: Context, component: str, release: str) -> None:
    resource = context.run.api().resource("v1", "ConfigMap")
    if resource:
        context.run.api().delete(resource, _name(component, release), NAMESPACE_SYSTEM)


def _name(component: str, release: str) -> str:
    return f"release-{component}-{release}".replace("_", "-").lower()
