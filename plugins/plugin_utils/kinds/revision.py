# SPDX-License-Identifier: Apache-2.0
"""A component's new revision: what it consists of now is written to its record."""

from __future__ import annotations

from dataclasses import dataclass

from ..describe.descriptor import Component, lines_of
from .base import Context, Outcome


@dataclass
class RecordNode:
    """Writes down what the component consists of now."""

    component: Component
    rolled_back_to: int = 0
    name: str = "record"
    slow: bool = False

    def run(self, context: Context) -> Outcome:
        if not context.run.check:
            name = self.component.name
            context.run.recorder.commit(
                name,
                context.desired.of(name),
                seconds=context.waits.seconds(name),
                versions={release.name: release.chart.version for release in self.component.releases},
                pages=lines_of(self.component.pages),
                rolled_back_to=self.rolled_back_to,
            )
        return Outcome()
