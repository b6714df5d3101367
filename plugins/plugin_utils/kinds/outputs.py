# SPDX-License-Identifier: Apache-2.0
"""A component's outputs: read from its live objects, for the components that refer to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..describe.descriptor import Output
from ..describe.references import UNKNOWN, at_path
from .base import Context, NodeError, Outcome


@dataclass
class OutputsNode:
    """Reads the component's outputs. It waits for an output that has no value yet."""

    component: str
    outputs: Mapping[str, Output]
    namespace: str
    name: str = "outputs"
    slow: bool = True

    def run(self, context: Context) -> Outcome:
        for name, output in self.outputs.items():
            context.outputs.publish(self.component, name, self._read(context, name, output))
        return Outcome()

    def _read(self, context: Context, name: str, output: Output) -> object:
        where = f"output {self.component}.{name}"
        end = time.monotonic() + output.timeout
        while True:
            value = self._look(context, output)
            if value is not None:
                context.waits.note(where, "")
                return value
            if context.run.check:
                return UNKNOWN
            if time.monotonic() > end:
                raise NodeError(
                    f"{where}: {output.kind} {output.name} has no {output.path} after {output.timeout} s; "
                    "see what its controller says (`kubectl describe`)"
                )
            context.waits.note(where, f"{output.path} of {output.kind} {output.name}")
            if context.run.stop.wait(0.5):
                raise NodeError(f"{where}: waiting was interrupted")

    def _look(self, context: Context, output: Output) -> object:
        live = context.run.live(output.apiVersion, output.kind, output.name, output.namespace or self.namespace)
        found: object = at_path(live, output.path) if live else None
        return found
