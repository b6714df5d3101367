# SPDX-License-Identifier: Apache-2.0
"""Deletion of one object: the data that is lost with it, and waiting until it is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..describe.descriptor import Reference
from ..kubernetes.client import Resource
from ..objects import data_loss
from ..objects.identity import Identity, identity
from .base import Context, Document, NodeError, matches, subject

_GONE_TIMEOUT_S = 300
# https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
_PROTECTION = "kubernetes.io/pvc-protection"
_MOST_NAMES = 3


def lost_with(context: Context, live: Document, may_lose: Sequence[Reference]) -> str:
    """The data that is lost with an object, in words; empty for none. Raises NodeError where its loss was not allowed."""
    target, lost = identity(live), ""
    if target.kind == "PersistentVolumeClaim":
        volume = (live.get("spec") or {}).get("volumeName")
        lost = data_loss.of_claim(context.run.live("v1", "PersistentVolume", volume) if volume else None)
    if lost and not may_be_lost(context, target, may_lose):
        place = f"{target.namespace}/" if target.namespace else ""
        raise NodeError(data_loss.refusal(subject(live), lost, f"{target.kind}/{place}{target.name}"))
    return lost


def may_be_lost(context: Context, target: Identity, may_lose: Sequence[Reference]) -> bool:
    """Whether the run or the descriptor allows the loss of this object's data."""
    return any(matches(one, target) for one in may_lose) or context.run.lose_data.covers_object(target)


def wait_gone(context: Context, resource: Resource, document: Document, timeout_s: float = _GONE_TIMEOUT_S) -> None:
    """Return once the object is gone or was replaced by a new one of its name. Raises NodeError saying what holds it."""
    metadata = document["metadata"]
    end = time.monotonic() + timeout_s
    pause = 0.1
    while True:
        live = context.run.api().get(resource, metadata["name"], metadata.get("namespace", ""))
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            context.waits.note(subject(document), "")
            return
        held = "; ".join(filter(None, [_held_by(live), _mounted_by(context, live, identity(document))]))
        context.waits.note(subject(document), f"its end, held by {held}")
        if time.monotonic() > end:
            raise NodeError(
                f"{subject(document)} is not gone {timeout_s:.0f} s after its deletion; it is held by {held}"
            )
        if context.run.stop.wait(pause):
            raise NodeError(f"{subject(document)}: waiting for its end was interrupted")
        pause = min(1.0, pause * 1.5)


def _held_by(live: Document) -> str:
    finalizers = [*(live["metadata"].get("finalizers") or []), *(live.get("spec", {}).get("finalizers") or [])]
    blocked = [
        " ".join(str(condition.get("message", "")).split())
        for condition in live.get("status", {}).get("conditions") or []
        if str(condition.get("type", "")).startswith("Namespace") and condition.get("status") == "True"
    ]
    return "; ".join(filter(None, [", ".join(finalizers), *blocked])) or "nothing it names"


def _mounted_by(context: Context, live: Document, target: Identity) -> str:
    """A claim stays as long as a pod with it exists, even one that has ended: which pods these are."""
    pods = context.run.api().resource("v1", "Pod")
    if (
        target.kind != "PersistentVolumeClaim"
        or _PROTECTION not in (live["metadata"].get("finalizers") or [])
        or not pods
    ):
        return ""
    names = [
        pod["metadata"]["name"]
        for pod in context.run.api().list(pods, target.namespace)
        for volume in pod["spec"].get("volumes") or []
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == target.name
    ]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"mounted by pod {', '.join(names[:_MOST_NAMES])}{more}" if names else "no pod mounts it any more"
