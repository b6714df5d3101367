# SPDX-License-Identifier: Apache-2.0
"""What a change means for users of the object: nothing, a rolling replacement, a restart, or an outage. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ...module_utils.aws.base.resource import AwsResource
from .compare import Change

Document = dict[str, Any]
Disruption = Literal["none", "rolling", "restart", "outage"]
ORDER: tuple[Disruption, ...] = ("none", "rolling", "restart", "outage")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
# Deleting one of these takes something away from its users.
_SERVING = (*_WORKLOADS, "Service", "Ingress", "Gateway", "HTTPRoute", "Namespace", "PersistentVolumeClaim", "Pod")


def of(verb: str, document: Document | None, changes: Sequence[Change] = ()) -> Disruption:
    """Of one action on an object as it is now (for a create: as it will be)."""
    kind = (document or {}).get("kind", "")
    if verb in ("delete", "recreate"):
        return "outage" if kind in _SERVING else "none"
    if verb not in ("update", "adopt") or kind not in _WORKLOADS or document is None:
        return "none"
    if not any(change.path.startswith("spec.template") for change in changes):
        return "none"
    return _of_pods(document)


def of_aws(verb: str, kind: type[AwsResource], changes: Sequence[Change] = ()) -> Disruption:
    """Of one action on an AWS resource: deleting what carries traffic is an outage, a new version replaces nodes one by one."""
    if verb in ("delete", "recreate"):
        return "outage" if kind.carries_traffic else "none"
    moved = {change.path.split(".")[0] for change in changes}
    return "rolling" if moved & set(kind.rolling) else "none"


def worst(disruptions: Sequence[Disruption]) -> Disruption:
    return max(disruptions, key=ORDER.index, default="none")


def _of_pods(document: Document) -> Disruption:
    """Of replacing a workload's pods, by its update strategy."""
    spec = document.get("spec", {})
    replicas = spec.get("replicas", 1)
    if document["kind"] == "Deployment":
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "Recreate":
            return "outage"
        unavailable = _number((strategy.get("rollingUpdate") or {}).get("maxUnavailable", "25%"), replicas)
        return "rolling" if unavailable < replicas else "restart"
    if document["kind"] == "StatefulSet":
        if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            return "none"
        return "rolling" if replicas > 1 else "restart"
    # A DaemonSet has one pod per node: for a moment the node is without it.
    return "restart"


def _number(value: Any, replicas: int) -> int:
    text = str(value)
    return int(text.rstrip("%")) * replicas // 100 if text.endswith("%") else int(text)
