# SPDX-License-Identifier: Apache-2.0
"""The result of a check: one sentence with the variable, its value, its place, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Place:
    """A line in an inventory file."""

    path: str
    line: int

    def __str__(self) -> str:
        path = Path(self.path)
        here = Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        return f"{shown}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """`problem` names the value and says what is wrong; `mend` says what to write instead."""

    variable: str
    problem: str
    mend: str
    place: Place | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.variable} {self.problem}; {self.mend}."


def place_of(value: Any) -> Place | None:
    """The line a variable's value came from, where Ansible still knows it (None for -e and computed values)."""
    try:
        # The public way to this does not exist in ansible-core 2.19; without it a finding only loses its line number.
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return None
    origin = Origin.get_tag(value)
    if origin is None or not origin.path or not origin.line_num:
        return None
    return Place(str(origin.path), int(origin.line_num))
