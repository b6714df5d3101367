# SPDX-License-Identifier: Apache-2.0
"""Who else manages a field we want to set, and whether to leave it to them. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

# Controllers that own the fields they set. A change by hand is drift; theirs is not.
_CONTROLLERS = re.compile(
    r"^(kube-controller-manager|horizontal-pod-autoscaler|keda.*|vpa-.*|karpenter.*|rollouts-controller|argo-rollouts|"
    r"cert-manager.*|cainjector.*|pilot-discovery|istio.*|aws-load-balancer-controller|cluster-autoscaler)$"
)
_CONFLICT = re.compile(r'conflict with "(?P<manager>[^"]+)"')
_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<key>[^\]]+)\]")


@dataclass(frozen=True)
class Conflict:
    """A field (in the API's notation) and the manager that holds it."""

    field: str
    manager: str

    @property
    def left_to_them(self) -> bool:
        """True for fields that autoscalers, injectors and rollout controllers set."""
        return bool(_CONTROLLERS.match(self.manager)) or self.field.endswith(".caBundle")


def read_conflicts(details: Mapping[str, Any]) -> list[Conflict]:
    """From the details of a 409 answer to a server-side apply."""
    found = []
    for cause in details.get("causes") or []:
        match = _CONFLICT.search(cause.get("message", ""))
        if cause.get("reason") == "FieldManagerConflict" and match:
            found.append(Conflict(cause.get("field", ""), match["manager"]))
    return found


def without(document: Document, field: str) -> Document:
    """The document without one field, given in the API's notation: `.spec.containers[name="x"].image`."""
    made = copy.deepcopy(document)
    steps = [match["field"] or match["key"] for match in _STEP.finditer(field)]
    node: Any = made
    for step in steps[:-1]:
        node = _descend(node, step)
        if node is None:
            return made
    if isinstance(node, dict) and steps:
        node.pop(steps[-1], None)
    return made


def _descend(node: Any, step: str) -> Any:
    if isinstance(node, dict):
        return node.get(step)
    if isinstance(node, list):
        if step.isdigit():
            return node[int(step)] if int(step) < len(node) else None
        wanted = dict(pair.split("=", 1) for pair in step.split(",") if "=" in pair)
        plain = {key: value.strip('"') for key, value in wanted.items()}
        for item in node:
            if isinstance(item, dict) and all(str(item.get(key)) == value for key, value in plain.items()):
                return item
    return None
