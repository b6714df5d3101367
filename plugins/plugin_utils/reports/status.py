# SPDX-License-Identifier: Apache-2.0
"""The status of each component: the plan's comparison, and the status of each workload."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..describe.descriptor import Component, lines_of
from ..kinds.base import subject
from ..kinds.wait import WORKLOADS, condition, fulfilled
from ..kubernetes.client import Client
from ..objects import diagnose
from ..objects.record import Recorder
from ..run.result import Result
from ..run.run_plan import aligned
from .closing import BY_FORWARD, key_command

Document = dict[str, Any]


@dataclass(frozen=True)
class ComponentStatus:
    """`state`: ready, not ready, differs, not installed, absent, skip, unknown. `why`: the reason for all but ready.

    `revision` and the fields after it come from the record: `at` in UTC, `versions` of charts, `history` the oldest
    first, `pages` how its pages are opened.
    """

    name: str
    state: str
    workloads: int = 0
    ready: int = 0
    images: list[str] = field(default_factory=list)
    why: str = ""
    revision: int = 0
    at: str = ""
    by: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)


def status(client: Client, planned: Result) -> list[ComponentStatus]:
    """One row a component. `planned`: the result of a converge in check mode of the same components."""
    workloads = workloads_by_component(client)
    return [
        _recorded(_component(client, name, component, workloads.get(name, [])), planned.recorder)
        for name, component in planned.components.items()
    ]


def _recorded(row: ComponentStatus, recorder: Recorder) -> ComponentStatus:
    """The row with what the component's record says."""
    history = [
        {"revision": one.number, "state": one.state, "at": one.at, "by": one.by, "seconds": one.seconds}
        | ({"rolled_back_to": one.rolled_back_to} if one.rolled_back_to else {})
        for one in recorder.history(row.name)
    ]
    last = recorder.applied(row.name)
    if last is None:
        return dataclasses.replace(row, history=history)
    return dataclasses.replace(
        row,
        revision=last.number,
        at=last.at,
        by=last.by,
        versions=dict(last.versions),
        history=history,
        pages=list(last.pages),
    )


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


def pages_of(components: Sequence[Component], rows: Sequence[ComponentStatus]) -> list[str]:
    """How each page of an installed component is opened, one line each, and how to sign in.

    A component that is skipped may be installed; its record says which pages it has.
    """
    described = {component.name: component for component in components if component.state == "present"}
    installed = [row for row in rows if row.revision and row.state not in ("absent", "not installed")]
    return [
        line
        for row in installed
        for line in (lines_of(described[row.name].pages) if row.name in described else row.pages)
    ]


def render(
    rows: Sequence[ComponentStatus],
    programs: Mapping[str, str],
    front_door: str,
    last_run: str,
    pages: Sequence[str] = (),
) -> str:
    """A table for people: the local cluster's programs where there is one, the components, the ways in."""
    lines = []
    if programs:
        bad = {name: state for name, state in programs.items() if state != "RUNNING"}
        lines.append(
            f"  local cluster: {len(programs) - len(bad)} of {len(programs)} programs run"
            + "".join(f"\n    {name}: {state}" for name, state in bad.items())
        )
    table = [["component", "state", "ready", "revision", "since", "charts"]]
    for row in rows:
        table.append(
            [
                row.name,
                row.state,
                f"{row.ready}/{row.workloads}" if row.workloads else "",
                str(row.revision or ""),
                age(row.at),
                " ".join(f"{name} {version}" for name, version in row.versions.items()),
            ]
        )
    lines += aligned(table)
    lines += [f"  {row.name}: {row.why}" for row in rows if row.why]
    lines += [f"  front door: {front_door}"] if front_door else _way_inside(rows)
    lines += [f"  {line}" for line in pages]
    lines += [f"  last converge: {age(last_run)} ago"] if last_run else []
    return "\n".join(lines)


def _way_inside(rows: Sequence[ComponentStatus]) -> list[str]:
    """The way to a gateway that is installed and has no address outside of the cluster."""
    installed = any(row.name == "gateway" and row.revision and row.state != "absent" for row in rows)
    return [f"  gateway: {BY_FORWARD}", f"    its key: {key_command()}"] if installed else []


def age(at: str) -> str:
    """How long ago, in the largest unit that says something: `45 s`, `12 min`, `3 h`, `8 d`."""
    if not at:
        return ""
    then = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
    seconds = max(0, int((datetime.datetime.now(datetime.UTC) - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
