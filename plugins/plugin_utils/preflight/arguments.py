# SPDX-License-Identifier: Apache-2.0
"""Checks variables against the roles' own argument specs, all at once, with the line to correct.

Ansible's own validation stops at the first role and names no file; this reads the same specs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .findings import Finding, Place, place_of

Spec = Mapping[str, Any]

_BOOLEAN_WORDS = {"true", "false", "yes", "no", "on", "off", "1", "0"}


def check_value(path: str, value: Any, spec: Spec, fallback: Place | None = None) -> Iterator[Finding]:
    """All findings for one value: type, choices, unknown and missing keys, to any depth."""
    place = place_of(value) or fallback
    kind = spec.get("type", "str")
    wrong = _wrong_type(value, kind)
    if wrong:
        yield Finding(path, f"is {_shown(value)}, which is not {wrong}", f"give {wrong}", place)
        return
    choices = spec.get("choices")
    if choices and kind != "list" and value not in choices:
        yield Finding(path, f"is {_shown(value)}", f"choose one of {', '.join(map(str, choices))}", place)
    if kind == "list":
        # As in Ansible, choices of a list are those of its items.
        element = {"type": spec.get("elements", "raw"), "options": spec.get("options"), "choices": choices}
        for index, item in enumerate(value):
            yield from check_value(f"{path}[{_label(item, index)}]", item, element, place)
    elif kind == "dict" and spec.get("options"):
        yield from _check_keys(path, value, spec["options"], place)


def unknown_variables(names: Mapping[str, Any], known: Sequence[str], prefixes: Sequence[str]) -> Iterator[Finding]:
    """Variables with one of our prefixes that no role defines: almost always a typo."""
    for name in names:
        if name not in known and name.startswith(tuple(prefixes)):
            yield Finding(str(name), "is not a variable of this collection", _did_you_mean(name, known), place_of(name))


def _check_keys(
    path: str, value: Mapping[str, Any], options: Mapping[str, Spec], place: Place | None
) -> Iterator[Finding]:
    for key, item in value.items():
        if key not in options:
            where = place_of(key) or place
            yield Finding(f"{path}.{key}", "is not a known key", _did_you_mean(str(key), list(options)), where)
        elif item is not None:
            yield from check_value(f"{path}.{key}", item, options[key], place_of(key) or place)
    for key, option in options.items():
        if option.get("required") and value.get(key) is None:
            yield Finding(f"{path}.{key}", "is missing", "add it", place)


def _wrong_type(value: Any, kind: str) -> str:
    """The type that `value` should have had, in words; empty when it is right."""
    if kind == "bool":
        right = isinstance(value, bool) or str(value).lower() in _BOOLEAN_WORDS
        return "" if right else "a boolean (true or false)"
    if kind == "int":
        right = not isinstance(value, bool) and (isinstance(value, int) or str(value).lstrip("-").isdigit())
        return "" if right else "a whole number"
    if kind == "float":
        try:
            float(value)
        except (TypeError, ValueError):
            return "a number"
        return ""
    if kind == "list":
        return "" if isinstance(value, Sequence) and not isinstance(value, str | bytes) else "a list"
    if kind == "dict":
        return "" if isinstance(value, Mapping) else "a mapping"
    if kind in ("str", "path"):
        return "" if isinstance(value, str | int | float) and not isinstance(value, bool) else "text"
    return ""


def _label(item: Any, index: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return str(name) if isinstance(name, str) else str(index)


def _shown(value: Any) -> str:
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}" if close else "remove it"
