# SPDX-License-Identifier: Apache-2.0
"""What runs of each component and whether it is healthy: the plan's comparison, and each workload's own word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from . import diagnose
from .engine import Result
from .kinds.base import subject
from .kinds.wait import WORKLOADS, condition, fulfilled
from .kubernetes.client import Client

Document = dict[str, Any]


@dataclass(frozen=True)
class ComponentStatus:
    """`state`: ready, not ready, differs, not installed, absent, skip, unknown. `why`: for all but ready, in words."""

    name: str
    state: str
    workloads: int = 0
    ready: int = 0
    images: list[str] = field(default_factory=list)
    why: str = ""


def status(client: Client, planned: Result) -> list[ComponentStatus]:
    """One row a component. `planned`: the result of a converge in check mode of the same components."""
    workloads = workloads_by_component(client)
    return [_component(client, name, planned.components[name], workloads.get(name, [])) for name in planned.components]


def workloads_by_component(client: Client) -> dict[str, list[Document]]:
    """Our Deployments, StatefulSets, DaemonSets and Jobs, by the component that made them."""
    found: dict[str, list[Document]] = {}
    for api_version, kinds in (("apps/v1", WORKLOADS), ("batch/v1", ("Job",))):
        for kind in kinds:
            resource = client.resource(api_version, kind)
            if resource is None:
                continue
            for document in client.list(resource, labels=f"{LABEL_MANAGED_BY}={MANAGED_BY}"):
                component = document["metadata"]["labels"].get(LABEL_COMPONENT, "")
                found.setdefault(component, []).append(document)
    return found


def _component(client: Client, name: str, planned: Any, workloads: list[Document]) -> ComponentStatus:
    if planned.state != "present":
        return ComponentStatus(name, planned.state if not planned.actions else "not removed")
    unready = [document for document in workloads if not _well(document)]
    images = sorted({image for document in workloads for image in _images(document)})
    counts: dict[str, Any] = {"workloads": len(workloads), "ready": len(workloads) - len(unready), "images": images}
    if planned.errors or planned.cancelled:
        return ComponentStatus(name, "unknown", **counts, why="; ".join(planned.errors) or planned.cancelled)
    if unready:
        said = [f"{subject(document)}: {diagnose.why(client, document)}" for document in unready[:3]]
        return ComponentStatus(name, "not ready", **counts, why="; ".join(said))
    if planned.actions:
        verbs = {action.verb for action in planned.actions}
        state = "not installed" if verbs <= {"create", "run"} and not workloads else "differs"
        subjects = ", ".join(f"{action.verb} {action.subject}" for action in planned.actions[:3])
        more = f" and {len(planned.actions) - 3} more" if len(planned.actions) > 3 else ""
        return ComponentStatus(name, state, **counts, why=f"a run would {subjects}{more}")
    return ComponentStatus(name, "ready", **counts)


def _well(document: Document) -> bool:
    if document["kind"] == "Job":
        return condition(document, "Complete").get("status") == "True"
    return fulfilled(document, "Available")


def _images(document: Document) -> list[str]:
    containers = document["spec"].get("template", {}).get("spec", {}).get("containers") or []
    return [container["image"] for container in containers]


def render(rows: list[ComponentStatus], programs: Mapping[str, str]) -> str:
    """A table for people: the local cluster's programs where there is one, then the components."""
    lines = []
    if programs:
        bad = {name: state for name, state in programs.items() if state != "RUNNING"}
        lines.append(
            f"  local cluster  {len(programs) - len(bad)} of {len(programs)} programs run"
            + "".join(f"\n    {name}: {state}" for name, state in bad.items())
        )
    width = max([len(row.name) for row in rows] or [0])
    for row in rows:
        counts = f"{row.ready}/{row.workloads}" if row.workloads else ""
        lines.append(f"  {row.name:<{width}}  {row.state:<13}  {counts:>5}  {row.why}".rstrip())
    return "\n".join(lines)
