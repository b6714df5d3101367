# SPDX-License-Identifier: Apache-2.0
"""Karpenter's node pools from the catalogue: one for each instance type that a model names. https://karpenter.sh/docs/concepts/nodepools/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils.aws.reference.accelerators import group_of
from ...module_utils.errors import LlmOnEksError
from ..engines.accelerator import accelerator_of
from ..engines.merge import merged

_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
# Karpenter's weights go from 1 to 100; a pool with a higher one is tried first.
_FIRST = 100


class PoolError(LlmOnEksError):
    """A setting of a pool that there is not."""


def pools(
    catalog: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], own: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """NodePools for the accelerators of all models that are present, in the order of their names.

    `settings`: `node_class`, `capacity`, `spare`, `budgets`, `consolidate_after`, `expire_after`, `drain_limit`,
    `startup_taints`. `own`: pool → what goes over its `spec`. Raises PoolError, AcceleratorError, InstanceTypesError.
    """
    wanted = _wanted(catalog)
    made = {name_of(one): _pool(one, place, nodes, settings) for one, (place, nodes) in sorted(wanted.items())}
    for name, over in own.items():
        if name not in made:
            known = ", ".join(made) or "none: no model of the catalogue names an accelerator"
            raise PoolError(f"karpenter_pools names {name!r}; the pools are {known}")
        made[name]["spec"] = merged(made[name]["spec"], over)
    return list(made.values())


def name_of(instance_type: str) -> str:
    """The pool of an instance type."""
    return instance_type.replace(".", "-")


def _wanted(catalog: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Instance type → its best place in a model's order, and how many pods may want such a node at most."""
    found: dict[str, tuple[int, int]] = {}
    for entry in catalog:
        accelerator = accelerator_of(entry)
        if entry.get("state", "present") == "absent" or accelerator.kind == "cpu":
            continue
        replicas = entry.get("replicas") or {}
        pods = int(replicas.get("max") or replicas.get("min") or 1)
        for place, name in enumerate(accelerator.types):
            best, nodes = found.get(name, (place, 0))
            found[name] = (min(best, place), nodes + pods)
    return found


def _pool(instance_type: str, place: int, nodes: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    facts = group_of([instance_type])
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [instance_type]},
        {"key": "kubernetes.io/arch", "operator": "In", "values": [_ARCHITECTURES[facts["architecture"]]]},
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(settings["capacity"])},
    ]
    node = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": settings["node_class"]},
        "requirements": requirements,
        "taints": facts["taints"],
        "startupTaints": list(settings["startup_taints"]),
        "expireAfter": settings["expire_after"],
        "terminationGracePeriod": settings["drain_limit"],
    }
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": name_of(instance_type)},
        "spec": {
            "weight": max(_FIRST - place, 1),
            # Never more than the models may want: it bounds the bill.
            "limits": {"nodes": str(nodes + int(settings["spare"]))},
            "template": {"metadata": {"labels": facts["labels"]}, "spec": node},
            "disruption": {
                # A node on which an engine serves is never taken away to save money.
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": settings["consolidate_after"],
                "budgets": list(settings["budgets"]),
            },
        },
    }
