# SPDX-License-Identifier: Apache-2.0
"""The result of a run, component by component."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..kinds.base import Action, Context
from ..objects import disruption
from ..objects.masking import Masker
from ..objects.record import Recorder
from .scheduler import Done


@dataclass
class ComponentResult:
    """The result of one component. `seconds`: since the run's start, when its last node ended; `described`: digest of its descriptor."""

    state: str
    seconds: float = 0.0
    described: str = ""
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cancelled: str = ""

    def add(self, node: Done) -> None:
        """Add the result of one of its nodes."""
        self.seconds = max(self.seconds, node.started + node.seconds)
        self.actions += node.outcome.actions
        self.notes += node.outcome.notes
        if node.state == "failed":
            self.errors.append(node.error)
        elif node.state == "cancelled":
            self.cancelled = node.error

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    @property
    def disruption(self) -> disruption.Disruption:
        return disruption.worst([action.disruption for action in self.actions])


@dataclass
class Result:
    """The whole run; `components` in the order in which they were described, `nodes` as they stand in the graph."""

    components: dict[str, ComponentResult]
    nodes: list[Done]
    seconds: float
    context: Context

    @property
    def masker(self) -> Masker:
        return self.context.run.masker

    @property
    def recorder(self) -> Recorder:
        return self.context.run.recorder

    @property
    def actions(self) -> list[Action]:
        return [action for component in self.components.values() for action in component.actions]

    @property
    def errors(self) -> list[str]:
        return [f"{name}: {error}" for name, component in self.components.items() for error in component.errors]
