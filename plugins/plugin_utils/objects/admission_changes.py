# SPDX-License-Identifier: Apache-2.0
"""Fields that the server sets otherwise than described: by an admission webhook, or a default of the cluster. Pure.

Other spellings of the same value (`1000m` and `1`, `"80"` and 80) are no difference, nor are fields that were not
described.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .compare import Change, entries
from .quantity import quantity

Document = dict[str, Any]


def admission_changes(described: Document, made: Document) -> list[Change]:
    """Described fields whose value the server changed."""
    if described["kind"] == "Secret":
        described = {key: value for key, value in described.items() if key not in ("data", "stringData")}
    return [change for change in _walk("", described, made) if not change.path.startswith(("status", "apiVersion"))]


def _walk(path: str, described: Any, made: Any) -> Iterator[Change]:
    if described in (None, {}, []):
        return
    if isinstance(described, Mapping) and isinstance(made, Mapping):
        for key, value in described.items():
            yield from _walk(f"{path}.{key}" if path else str(key), value, made.get(key))
    elif isinstance(described, list) and isinstance(made, list):
        keyed, others = entries(described), entries(made)
        if keyed is None or others is None:
            if len(described) != len(made):
                yield Change(path, described, made)
                return
            keyed, others = dict(enumerate(described)), dict(enumerate(made))
        for key, value in keyed.items():
            yield from _walk(f"{path}[{key}]", value, others.get(key))
    elif not _same(described, made):
        yield Change(path, described, made)


def _same(described: Any, made: Any) -> bool:
    if described == made or str(described) == str(made):
        return True
    if made is None:
        # The server omits empty and zero values where they are the default.
        return described in ("", 0, False)
    one, two = quantity(described), quantity(made)
    return one is not None and one == two
