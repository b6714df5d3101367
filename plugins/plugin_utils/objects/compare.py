# SPDX-License-Identifier: Apache-2.0
"""What differs between two states of an object, field by field, in words people use. Pure."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Document = dict[str, Any]
# Fields that the server sets; never part of a comparison.
SERVER_METADATA = (
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
# Kubernetes lists whose entries are identified by a key rather than by their position.
_LIST_KEYS = ("name", "containerPort", "port", "mountPath", "type", "key", "ip")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes every kind of text as text: outputs that are not known yet are a kind of their own."""


_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))


@dataclass(frozen=True)
class Change:
    """One field; `before` or `after` is None where the field does not exist."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_short(self.before)} → {_short(self.after)}"


def cleaned(document: Document | None) -> Document:
    """The object without server-set fields, its secrets as digests."""
    if document is None:
        return {}
    kept = {key: value for key, value in document.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in kept.get("metadata", {}).items() if key not in SERVER_METADATA}
    return mask(kept)


def mask(document: Document) -> Document:
    """A Secret's values become digests: two values can be told apart, none can be read."""
    if document.get("kind") != "Secret":
        return document
    masked = copy.deepcopy(document)
    for section in ("data", "stringData"):
        for key, value in (masked.get(section) or {}).items():
            masked[section][key] = f"(secret, sha256 {hashlib.sha256(str(value).encode()).hexdigest()[:8]})"
    if masked["metadata"].get("annotations"):
        masked["metadata"]["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return masked


def changes(before: Document | None, after: Document | None) -> list[Change]:
    """Every leaf that differs; both objects are cleaned first."""
    return list(_walk("", cleaned(before), cleaned(after)))


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The path of every leaf, as changes() writes it."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from paths(item, _join(path, str(key)))
    elif isinstance(value, list) and _keyed(value):
        for key, item in _by_key(value).items():
            yield from paths(item, f"{path}[{key}]")
    elif path:
        yield path


def entries(items: Sequence[Any]) -> dict[Any, Any] | None:
    """A list's entries by their key; None where only the position identifies them."""
    return _by_key(items) if _keyed(items) else None


def to_yaml(document: Document | None) -> str:
    """Readable text of a cleaned object, for a diff; empty for none."""
    if not document:
        return ""
    return str(yaml.dump(cleaned(document), Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=160))


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _walk(_join(path, str(key)), before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and _keyed(before) and _keyed(after):
        left, right = _by_key(before), _by_key(after)
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _walk(f"{path}[{key}]", left.get(key), right.get(key))
    else:
        yield Change(path, before, after)


def _join(path: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f"[{key}]"
    return shown if not path else f"{path}{'' if shown.startswith('[') else '.'}{shown}"


def _keyed(items: Sequence[Any]) -> bool:
    return _key_of(items) is not None


def _by_key(items: Sequence[Any]) -> dict[str, Any]:
    key = _key_of(items)
    return {str(item[key]): item for item in items} if key else {}


def _key_of(items: Sequence[Any]) -> str | None:
    for key in _LIST_KEYS:
        if items and all(isinstance(item, dict) and key in item for item in items):
            values = [str(item[key]) for item in items]
            if len(set(values)) == len(values):
                return key
    return None


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 100 else text[:97] + "..."
