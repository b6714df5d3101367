# SPDX-License-Identifier: Apache-2.0
"""What a run tells people and playbooks: one line per node, and Ansible's result. Pure."""

from __future__ import annotations

from typing import Any

from ..kinds.base import Action
from ..objects.masking import Masker
from ..run.result import Result
from ..run.scheduler import Done, Running

_DONE = {
    "create": "created",
    "update": "changed",
    "delete": "deleted",
    "recreate": "recreated",
    "run": "ran",
    "adopt": "adopted",
}
_PLANNED = {"create": "+", "update": "~", "delete": "-", "recreate": "±", "run": ">", "adopt": "="}
# A node that changed nothing and took less than this gets no line.
_QUICK_S = 0.5


def node_line(done: Done, check: bool, masker: Masker) -> str:
    """`kong  objects  2.1 s  7 created`; in check mode what is planned, object by object; empty when there is nothing to report."""
    if done.state == "failed":
        return f"{done.component}  {done.node}  {done.seconds:.1f} s  FAILED: {done.error}"
    if done.state == "cancelled":
        return f"{done.component}  {done.node}  cancelled: {done.error}"
    notes = [f"{done.component}  note: {masker.text(note)}" for note in done.outcome.notes]
    if check:
        lines = [planned_line(done.component, action) for action in done.outcome.actions]
        return "\n".join([*map(masker.text, lines), *notes])
    if not done.outcome.actions and not notes and done.seconds < _QUICK_S:
        return ""
    counts: dict[str, int] = {}
    for action in done.outcome.actions:
        counts[_DONE[action.verb]] = counts.get(_DONE[action.verb], 0) + 1
    said = ", ".join(f"{number} {word}" for word, number in counts.items()) or "unchanged"
    lost = [f"{done.component}  lost data: {one.subject}: {one.loses}" for one in done.outcome.actions if one.loses]
    return "\n".join([f"{done.component}  {done.node}  {done.seconds:.1f} s  {said}", *lost, *notes])


def planned_line(component: str, action: Action) -> str:
    """`~ kong  Deployment kong/kong-gateway  spec.replicas: 1 → 2`, one line for each field."""
    head = f"{_PLANNED[action.verb]} {component}  {action.subject}"
    said: list[str] = [action.disruption] if action.disruption != "none" else []
    said += [f"loses data: {action.loses}"] if action.loses else []
    meaning = f"   ({', '.join(said)})" if said else ""
    if not action.changes:
        return head + meaning
    return "\n".join(f"{head}  {change}{meaning}" for change in action.changes)


def running_line(now: Running) -> str:
    """`42 s: kong (wait for Deployment kong/kong-gateway, 31 s: 0 of 1 ready); 12 more nodes to come`."""
    parts = []
    for one in now.nodes:
        # A node that waits for several objects says which of them it is.
        name = "" if one.target.rpartition("/")[2] in one.node else f"{one.target}: "
        reason = f": {name}{one.reason}" if one.reason else ""
        parts.append(f"{one.component} ({one.node}, {one.seconds:.0f} s{reason})")
    more = f"; {now.pending} more to come" if now.pending else ""
    return f"  … {now.seconds:.0f} s: {', '.join(parts)}{more}"


def result_of(run: Result, *, diff: bool) -> dict[str, Any]:
    """Ansible's result. `msg` holds every error, so that none is lost behind the first."""
    mask = run.masker.text
    made: dict[str, Any] = {
        "changed": bool(run.actions),
        "seconds": round(run.seconds, 2),
        "components": {
            name: {
                "state": component.state,
                "changed": component.changed,
                "seconds": round(component.seconds, 2),
                "actions": [
                    {
                        "verb": action.verb,
                        "subject": action.subject,
                        "disruption": action.disruption,
                        "loses_data": action.loses,
                        "changes": [mask(str(change)) for change in action.changes],
                    }
                    for action in component.actions
                ],
                "notes": [mask(note) for note in component.notes],
                "errors": component.errors,
                "cancelled": component.cancelled,
            }
            for name, component in run.components.items()
        },
    }
    if diff:
        made["diff"] = [action.diff(run.masker) for action in run.actions]
    if run.errors:
        made.update(failed=True, msg="\n".join(run.errors))
    return made
