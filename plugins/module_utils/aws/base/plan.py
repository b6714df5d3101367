# SPDX-License-Identifier: Apache-2.0
"""Decides what to do with a resource: current and desired state in, plan out. Pure.

Only the fields that `desired` names are compared. A field that it omits, also within a nested one, belongs to AWS or to
someone else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .unknown import SHOWN, is_unknown

State = dict[str, Any]
Verb = Literal["none", "create", "update", "replace", "delete"]


@dataclass(frozen=True)
class Change:
    """One field; `before` or `after` is None where the field does not exist."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_short(self.before)} → {_short(self.after)}"


@dataclass(frozen=True)
class Rules:
    """How fields of a kind of resource are compared.

    `fixed`: cannot be changed; `replaced`: a change means a new resource; `unordered`: lists whose order has no
    meaning; `exact`: maps from which undesired members are removed; `keyed`: maps in which a missing
    member differs from an empty one, as in those that are exact; `documents`: JSON texts, compared as data.
    """

    fixed: Collection[str] = ()
    replaced: Collection[str] = ()
    unordered: Collection[str] = ()
    exact: Collection[str] = ()
    keyed: Collection[str] = ()
    documents: Collection[str] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    `changed`: the top-level fields that differ, as desired; `refused`: fields that cannot be changed. `mends`: the
    existing resource failed while it was created, and is created again.
    """

    verb: Verb
    subject: str
    changes: tuple[Change, ...] = ()
    desired: State = field(default_factory=dict)
    changed: State = field(default_factory=dict)
    set_tags: dict[str, str] = field(default_factory=dict)
    unset_tags: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    before: State | None = None
    after: State | None = None
    why: str = ""
    mends: bool = False

    @property
    def changes_anything(self) -> bool:
        return self.verb != "none"

    def diff(self) -> dict[str, str]:
        """In Ansible's form."""
        return {
            "before_header": self.subject,
            "after_header": self.subject,
            "before": _text(self.before),
            "after": _text(self.after),
        }


@dataclass(frozen=True)
class Tags:
    """`current` tags of the resource, `desired` ones; with `purge` all others are removed, except those that AWS reserves."""

    current: Mapping[str, str] = field(default_factory=dict)
    desired: Mapping[str, str] = field(default_factory=dict)
    purge: bool = False

    def to_set(self) -> dict[str, str]:
        return {key: value for key, value in self.desired.items() if self.current.get(key) != value}

    def to_unset(self) -> tuple[str, ...]:
        if not self.purge:
            return ()
        return tuple(key for key in self.current if key not in self.desired and not key.startswith("aws:"))


def decide(
    subject: str, current: State | None, desired: State, tags: Tags | None = None, rules: Rules | None = None
) -> Plan:
    """The plan that changes `current` to `desired`. `current` None: the resource does not exist."""
    rules, tags = rules or Rules(), tags or Tags()
    desired = _wanted(desired, rules)
    if current is None:
        shown = _shown(desired, tags.desired)
        changes = tuple(Change(key, None, value) for key, value in shown.items()) or (Change("", None, "present"),)
        return Plan("create", subject, changes, desired, desired, dict(tags.desired), after=shown)
    found = {key: list(_compare(key, key, current.get(key), value, rules)) for key, value in desired.items()}
    differs = {key: changes for key, changes in found.items() if changes}
    set_tags, unset_tags = tags.to_set(), tags.to_unset()
    changes = tuple(change for key in differs for change in differs[key]) + tuple(
        [Change(f"tags.{key}", tags.current.get(key), value) for key, value in set_tags.items()]
        + [Change(f"tags.{key}", tags.current[key], None) for key in unset_tags]
    )
    kept = {key: value for key, value in tags.current.items() if key not in unset_tags}
    before = _shown({key: current.get(key) for key in desired}, tags.current)
    after = _shown(
        {**{key: current.get(key) for key in desired}, **{key: desired[key] for key in differs}}, kept | set_tags
    )
    verb: Verb = "none" if not changes else "update"
    if any(key in rules.replaced for key in differs):
        verb = "replace"
    return Plan(
        verb,
        subject,
        changes,
        desired,
        {key: desired[key] for key in differs},
        set_tags,
        unset_tags,
        tuple(key for key in differs if key in rules.fixed),
        before,
        after if changes else before,
    )


def anew(subject: str, current: State, desired: State, state: str, rules: Rules) -> Plan:
    """The plan to replace a resource whose creation failed: nobody uses it, and it cannot recover. `state`: AWS's state of it."""
    desired = _wanted(desired, rules)
    change = Change("state", state, "created again")
    before = _shown({key: current.get(key) for key in desired}, {})
    return Plan("replace", subject, (change,), desired, desired, before=before, after=desired, mends=True)


def removal(subject: str, current: State | None, tags: Mapping[str, str] | None = None) -> Plan:
    """The plan to delete the resource."""
    if current is None:
        return Plan("none", subject)
    before = _shown({key: value for key, value in current.items() if key not in ("tags", "Tags")}, tags or {})
    return Plan("delete", subject, (Change("", "present", None),), before=before)


def _wanted(desired: State, rules: Rules) -> State:
    """The fields that are to have a value. What is named twice in a list without an order is wanted once: AWS keeps it once, or refuses it."""
    return {key: _once(key, value, rules) for key, value in desired.items() if value is not None}


def _once(path: str, value: Any, rules: Rules) -> Any:
    if isinstance(value, dict) and path not in rules.documents:
        return {key: _once(f"{path}.{key}", inner, rules) for key, inner in value.items()}
    if isinstance(value, list) and path in rules.unordered:
        return list({json.dumps(item, sort_keys=True, default=str): item for item in value}.values())
    return value


def _compare(top: str, path: str, current: Any, desired: Any, rules: Rules) -> Iterator[Change]:
    if is_unknown(desired) and not isinstance(desired, dict):
        yield Change(path, current, SHOWN)
    elif isinstance(desired, dict) and path not in rules.documents:
        have = current if isinstance(current, dict) else {}
        for key, value in desired.items():
            if value is None:
                continue
            if path in (*rules.keyed, *rules.exact) and key not in have:
                yield Change(f"{path}.{key}", None, value)
            else:
                yield from _compare(top, f"{path}.{key}", have.get(key), value, rules)
        if path in rules.exact:
            for key in have:
                if key not in desired:
                    yield Change(f"{path}.{key}", have[key], None)
    elif bare(normal(path, current, rules)) != bare(normal(path, desired, rules)):
        yield Change(path, current, desired)


def bare(value: Any) -> Any:
    """A value without its empty members, None for an empty one: services omit empty values, some of them at any depth."""
    if isinstance(value, Mapping):
        value = {key: inner for key, item in value.items() if (inner := bare(item)) is not None}
    elif isinstance(value, list):
        value = [bare(item) for item in value]
    return None if value in ("", [], {}) else value


def normal(path: str, value: Any, rules: Rules) -> Any:
    """A value in a canonical form: equal values have equal forms."""
    if path in rules.documents:
        return _document(value)
    if isinstance(value, list) and path in rules.unordered:
        return sorted(value, key=lambda item: json.dumps(item, sort_keys=True, default=str))
    return value


def _document(value: Any) -> Any:
    """A JSON policy as data. IAM accepts a single string for a list of one, and may return either."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, dict):
        return {key: _document(inner) for key, inner in value.items()}
    if isinstance(value, list):
        items = sorted((_document(inner) for inner in value), key=lambda item: json.dumps(item, sort_keys=True))
        return items[0] if len(items) == 1 and isinstance(items[0], str) else items
    return value


def _shown(state: State, tags: Mapping[str, str]) -> State:
    return {**state, "tags": dict(tags)} if tags else dict(state)


def _text(state: State | None) -> str:
    return json.dumps(state, indent=2, sort_keys=True, default=str) + "\n" if state else ""


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 100 else text[:97] + "..."
