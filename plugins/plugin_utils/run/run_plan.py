# SPDX-License-Identifier: Apache-2.0
"""A plan: exactly what a run would do, as data with a digest, as a file, and as a table. It contains no secret."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...module_utils.errors import LlmOnEksError
from ...module_utils.files import write_whole
from ..objects.compare import Change
from .result import Result

FORM = 1


class PlanError(LlmOnEksError):
    """A plan file cannot be read."""


class StalePlanError(LlmOnEksError):
    """What would be done now differs from the plan."""


class PlannedChange(msgspec.Struct, frozen=True):
    """One field; a value that is not there is null."""

    path: str
    before: Any
    after: Any


class PlannedAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object: what is done to it, in which component, and what that means to its users; `loses`: data that is lost.

    Empty fields are omitted, so that plans from before `loses` existed keep their digest.
    """

    component: str
    verb: str
    subject: str
    disruption: str
    changes: list[PlannedChange]
    loses: str = ""


class PlannedComponent(msgspec.Struct, frozen=True):
    """One row of the table. `seconds`: the duration of the last run that changed the component; 0 when none is recorded.

    `described`: digest of the component's descriptor. What is created has no fields to compare, so this says what it will be. Empty in plans
    of earlier versions.
    """

    name: str
    state: str
    disruption: str
    seconds: float
    counts: dict[str, int]
    notes: list[str]
    errors: list[str]
    described: str = ""


class Plan(msgspec.Struct, frozen=True):
    """`digest`: over the actions, and over the descriptors of the components that have any."""

    form: int
    digest: str
    actions: list[PlannedAction]
    components: list[PlannedComponent]

    def allows(self, other: Plan) -> bool:
        """Whether the other plan does exactly this. A plan of an earlier version says nothing of descriptors."""
        if any(row.described for row in self.components):
            return self.digest == other.digest
        return self.actions == other.actions

    def difference(self, other: Plan) -> str:
        """What the other plan would do differently, in words."""
        mine, theirs = ({_key(action): action for action in plan.actions} for plan in (self, other))
        added = [
            f"it would also {verb} {subject}"
            for component, verb, subject in theirs
            if (component, verb, subject) not in mine
        ]
        gone = [
            f"it would no longer {verb} {subject}"
            for component, verb, subject in mine
            if (component, verb, subject) not in theirs
        ]
        moved = [
            f"{subject} would change in other fields"
            for component, verb, subject in mine
            if (component, verb, subject) in theirs
            and mine[component, verb, subject] != theirs[component, verb, subject]
        ]
        were = {row.name: row.described for row in self.components if row.counts}
        moved += [
            f"{row.name} is described differently"
            for row in other.components
            if were.get(row.name) and row.described != were[row.name]
        ]
        said = [*added, *gone, *moved]
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        return ", ".join(said[:3]) + more


def _digest(actions: Sequence[PlannedAction], rows: Sequence[PlannedComponent]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(actions, order="sorted"))
    for row in rows:
        if row.described and row.counts:
            digest.update(f"\0{row.name}\0{row.described}".encode())
    return f"sha256:{digest.hexdigest()}"


def _key(action: PlannedAction) -> tuple[str, str, str]:
    return action.component, action.verb, action.subject


def plan_of(result: Result) -> Plan:
    """From the result of a run in check mode."""
    actions = [
        PlannedAction(
            name,
            action.verb,
            action.subject,
            action.disruption,
            [_change(change, result) for change in action.changes],
            action.loses,
        )
        for name, component in result.components.items()
        for action in component.actions
    ]
    rows = []
    for name, component in result.components.items():
        counts: dict[str, int] = {}
        for action in component.actions:
            counts[action.verb] = counts.get(action.verb, 0) + 1
        last = result.recorder.applied(name)
        seconds = last.seconds if last and counts else 0.0
        notes = [result.masker.text(note) for note in component.notes]
        rows.append(
            PlannedComponent(
                name,
                component.state,
                component.disruption,
                seconds,
                counts,
                notes,
                component.errors,
                component.described,
            )
        )
    return Plan(FORM, _digest(actions, rows), actions, rows)


def _change(change: Change, result: Result) -> PlannedChange:
    masker = result.masker
    return PlannedChange(change.path, masker.data(change.before), masker.data(change.after))


def write(plan: Plan, file: Path) -> None:
    """As JSON, whole or not at all."""
    write_whole(file, text(plan))


def text(plan: Plan) -> str:
    """The plan as JSON, which `parse` reads."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=1).decode() + "\n"


def read(file: Path) -> Plan:
    """Raises PlanError for a file that is missing, is no plan, has another format, or was edited."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PlanError(
            f"plan_file {file} cannot be read ({error.strerror}); make it with playbooks/plan.yml"
        ) from None
    return parse(data, f"plan_file {file}")


def parse(data: str | bytes, what: str) -> Plan:
    """A plan from its JSON. `what` names it in errors. Raises PlanError."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except msgspec.MsgspecError as error:
        raise PlanError(f"{what} is not a plan of ours ({error}); make it with playbooks/plan.yml") from None
    if plan.form != FORM or plan.digest != _digest(plan.actions, plan.components):
        raise PlanError(f"{what} was edited, or written by another version; make a new one with playbooks/plan.yml")
    return plan


def table(plan: Plan) -> str:
    """For people: one row per component that would be changed, and a total."""
    rows = [["component", "what", "disruption", "seconds"]]
    for row in plan.components:
        if row.counts or row.errors:
            what = ", ".join(f"{number} {verb}" for verb, number in row.counts.items()) or "cannot be planned"
            seconds = f"~{row.seconds:.0f}" if row.seconds else ""
            rows.append([row.name, what, row.disruption if row.counts else "", seconds])
    if len(rows) == 1:
        return "  nothing to do"
    lost = [f"  loses data: {one.subject} ({one.component}): {one.loses}" for one in plan.actions if one.loses]
    return "\n".join([*aligned(rows), *lost, f"  {len(plan.actions)} objects, {plan.digest[:19]}"])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
