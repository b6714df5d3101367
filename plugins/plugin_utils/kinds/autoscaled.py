# SPDX-License-Identifier: Apache-2.0
"""A workload whose replicas pass from its description to an autoscaler keeps their number.

By itself an apply without `replicas` resets them to one, an outage.
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#migrating-deployments-and-statefulsets-to-horizontal-autoscaling
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from ...module_utils.names import FIELD_MANAGER
from ..objects.choices import is_ours
from .base import Context, Document

_SCALED = ("Deployment", "StatefulSet", "ReplicaSet")
_SCALERS = (("autoscaling/v2", "HorizontalPodAutoscaler"), ("keda.sh/v1alpha1", "ScaledObject"))


def hands_replicas_over(context: Context, document: Document, live: Document | None) -> bool:
    """Whether we set the live object's replicas, no longer describe them, and an autoscaler has the object as its target."""
    if live is None or document["kind"] not in _SCALED or "replicas" in (document.get("spec") or {}):
        return False
    entries = live["metadata"].get("managedFields") or []
    ours = [one for one in entries if is_ours(one)]
    held = any("f:replicas" in ((one.get("fieldsV1") or {}).get("f:spec") or {}) for one in ours)
    return held and any(_scales(scaler, document) for scaler in _scalers(context, document))


def keeps_replicas(planned: Document, live: Document) -> Document:
    made = copy.deepcopy(planned)
    made["spec"]["replicas"] = live["spec"]["replicas"]
    return made


def without_replicas(entries: list[Any], api_version: str) -> list[Document]:
    """managedFields in which we no longer hold the replicas: an apply without them then leaves them alone."""
    made = copy.deepcopy(entries)
    for entry in made:
        if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource"):
            ((entry.get("fieldsV1") or {}).get("f:spec") or {}).pop("f:replicas", None)
    return made


def _scalers(context: Context, document: Document) -> Iterator[Mapping[str, Any]]:
    """Autoscalers that this run describes, and those in the object's namespace."""
    namespace = document["metadata"].get("namespace", "")
    for api_version, kind in _SCALERS:
        yield from (one for one in context.desired.of_kind(kind) if one["metadata"].get("namespace") == namespace)
        resource = context.run.api().resource(api_version, kind)
        if resource:
            yield from context.run.api().list(resource, namespace)


def _scales(scaler: Mapping[str, Any], document: Document) -> bool:
    target = (scaler.get("spec") or {}).get("scaleTargetRef") or {}
    return bool(
        target.get("name") == document["metadata"]["name"] and target.get("kind", "Deployment") == document["kind"]
    )
