# SPDX-License-Identifier: Apache-2.0
"""What differs between two environments: pure functions from two environments to a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..helm.lock_file import LockedChart
from .environment import LOCK, Environment

# Longer values are cut in the table; the result of the task has them whole.
_WIDTH = 48
_NOT_SET = object()


@dataclass(frozen=True)
class Difference:
    """One key with its two values as text. `intended`: one of the environments says that it is meant to differ."""

    key: str
    left: str
    right: str
    intended: bool = False


def differences(left: Environment, right: Environment, defaults: Mapping[str, Any]) -> list[Difference]:
    """All keys whose values differ. A variable that only one side sets is compared with its default on the other."""
    intended = [*_patterns(left), *_patterns(right)]
    found = []
    for name in sorted({*left.variables, *right.variables} - {"platform_intended_differences"}):
        ours, theirs = (_flat(name, one.variables.get(name, defaults.get(name, _NOT_SET))) for one in (left, right))
        for key in sorted({*ours, *theirs}):
            if ours.get(key, _NOT_SET) != theirs.get(key, _NOT_SET):
                one, other = (
                    _text(values.get(key, _NOT_SET), name not in side.variables)
                    for values, side in ((ours, left), (theirs, right))
                )
                found.append(Difference(key, one, other, _is_intended(key, intended)))
    return found + list(_charts(left, right, intended))


def _patterns(environment: Environment) -> list[str]:
    given = environment.variables.get("platform_intended_differences") or []
    return [given] if isinstance(given, str) else [str(one) for one in given]


def _is_intended(key: str, patterns: Sequence[str]) -> bool:
    """A pattern may contain `*`, and also covers what is below the key that it names."""
    return any(re.match(re.escape(one).replace(r"\*", ".*") + r"($|[.\[])", key) for one in patterns)


def _flat(key: str, value: Any) -> dict[str, Any]:
    """Mappings by their keys, lists of named entries by their names; everything else is one value."""
    if isinstance(value, Mapping) and value:
        return {path: one for name, inner in value.items() for path, one in _flat(f"{key}.{name}", inner).items()}
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "name" in one for one in value):
        return {
            path: one
            for entry in value
            for path, one in _flat(f"{key}[{entry['name']}]", {**entry, "name": entry["name"]}).items()
        }
    return {} if value is _NOT_SET else {key: value}


def _text(value: Any, is_default: bool) -> str:
    if value is _NOT_SET:
        return "(not set)"
    if isinstance(value, str) and "undef(" in value:
        return "(to be set by you)"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    return f"{text} (default)" if is_default else text


def _charts(left: Environment, right: Environment, intended: Sequence[str]) -> Iterator[Difference]:
    ours, theirs = ({(one.source, one.name): one for one in side.lock.charts} for side in (left, right))
    for place in sorted({*ours, *theirs}):
        one, other = ours.get(place), theirs.get(place)
        if one != other:
            key = f"{LOCK}: {place[1]}"
            yield Difference(key, _locked(one), _locked(other), _is_intended(key, intended))


def _locked(chart: LockedChart | None) -> str:
    return f"{chart.version} {chart.digest[:19]}" if chart else "(not locked)"


def table(found: Sequence[Difference], left: str, right: str) -> str:
    """The differences as lines in columns: first what nobody said is meant to differ."""
    if not found:
        return f"  {left} and {right} are alike"
    rows = [("", left, right, "")]
    for one in sorted(found, key=lambda one: one.intended):
        rows.append((one.key, _cut(one.left), _cut(one.right), "intended" if one.intended else ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  " + "  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
