# SPDX-License-Identifier: Apache-2.0
"""Refusals of the emulator, in the service's own words, read from data/refusals.json."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).parent / "data" / "refusals.json"


class EmulatorError(Exception):
    """The emulator cannot be started or used like this; one sentence for a user."""


@dataclass(frozen=True)
class Recorded:
    """One refusal of the real API: `message` has {names}; `source` is where AWS documents it."""

    id: str
    service: str
    operations: tuple[str, ...]
    code: str
    status: int
    message: str
    source: str


class Refusal(Exception):
    """An error answer of the service."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@functools.cache
def recorded() -> dict[str, Recorded]:
    """id -> refusal."""
    rows = json.loads(_DATA.read_text())
    return {row["id"]: Recorded(**{**row, "operations": tuple(row["operations"])}) for row in rows}


def refuse(identifier: str, **names: object) -> Refusal:
    """The recorded refusal with its {names} filled in, to be raised."""
    found = recorded()[identifier]
    return Refusal(found.code, found.message.format(**names), found.status)
