# SPDX-License-Identifier: Apache-2.0
"""Values that are known only after another resource was created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN = "(known after apply)"


class Unknown(str):
    """Stands for an output of a resource that does not exist yet. `source` says which one."""

    __slots__ = ("source",)
    source: str

    def __new__(cls, source: str = "") -> Unknown:
        made = super().__new__(cls, SHOWN)
        made.source = source
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Unknown:
        return self

    def __reduce__(self) -> tuple[type[Unknown], tuple[str]]:
        return (Unknown, (self.source,))


def is_unknown(value: Any) -> bool:
    """Whether the value, or anything in it, is not known yet. Text that contains an unknown value counts, too."""
    if isinstance(value, str):
        return isinstance(value, Unknown) or SHOWN in value
    if isinstance(value, Mapping):
        return any(is_unknown(inner) for inner in value.values())
    if isinstance(value, list | tuple | set):
        return any(is_unknown(inner) for inner in value)
    return False
