# SPDX-License-Identifier: Apache-2.0
"""Values that a chart generates at each rendering (certificates, passwords, their checksums), and how they are kept. Pure.

Two renderings of the same input are compared. Where they differ, the value in the cluster is used again.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from .documents import Document, key_of

Step = str | int


class GeneratedField(msgspec.Struct, frozen=True):
    """A field that differs at each rendering. `object` is a key of `key_of`; `path` starts at the object's root."""

    object: str
    path: tuple[Step, ...]
    certificate: bool = False

    @property
    def derived(self) -> bool:
        """Whether the field is in a pod template: there it is derived from something else and only makes pods restart."""
        return "template" in self.path[:-1] and self.path[0] == "spec"

    def __str__(self) -> str:
        words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        kind, namespace, name = self.object.split("/")[-3:]
        return f"{kind} {namespace + '/' if namespace else ''}{name}: {words.lstrip('.')}"


def compare(
    first: Sequence[Document], second: Sequence[Document], namespace: str
) -> tuple[list[GeneratedField], list[str]]:
    """(fields that differ, keys of objects whose very name differs) between two renderings of one input."""
    left = {key_of(document, namespace): document for document in first}
    right = {key_of(document, namespace): document for document in second}
    fields = [
        GeneratedField(key, path, _is_certificate(path, value))
        for key, document in left.items()
        if key in right
        for path, value in _differences((), document, right[key])
    ]
    return fields, [key for key in left if key not in right]


def feed_back(
    documents: Sequence[Document],
    generated: Sequence[GeneratedField],
    live: Mapping[str, Document | None],
    namespace: str,
    *,
    same_input: bool,
) -> tuple[list[Document], list[GeneratedField]]:
    """(documents with the values that are in the cluster, fields that keep their newly generated value).

    Certificates are one set: the key of one rendering does not match the authority of another, so all are kept or none.
    Fields of pod templates are kept only while chart and values are unchanged and nothing else is generated: otherwise
    they are checksums of something that changed, and pods must restart.
    """
    values = {field: _live_value(live.get(field.object), field.path) for field in generated}
    sources = [field for field in generated if not field.derived]
    complete = all(values[field] is not None for field in sources if field.certificate)
    kept = [field for field in sources if values[field] is not None and (complete or not field.certificate)]
    if same_input and len(kept) == len(sources):
        kept += [field for field in generated if field.derived and values[field] is not None]
    made = {key_of(document, namespace): copy.deepcopy(document) for document in documents}
    for field in kept:
        if field.object in made:
            _put(made[field.object], field.path, values[field])
    return list(made.values()), [field for field in generated if field not in kept]


def blanked(documents: Sequence[Document], generated: Sequence[GeneratedField], namespace: str) -> list[Document]:
    """The documents without generated values, safe to cache: a generated password must not be used a second time."""
    made = {key_of(document, namespace): copy.deepcopy(document) for document in documents}
    for field in generated:
        if field.object in made:
            _put(made[field.object], field.path, None)
    return list(made.values())


def unknown(document: Document, generated: Sequence[GeneratedField], word: str) -> Document:
    """A planned object as it can be shown: values that the chart will generate are not known yet."""
    made = copy.deepcopy(document)
    for field in generated:
        if _live_value(made, field.path) is not None:
            _put(made, field.path, word)
    return made


def _differences(path: tuple[Step, ...], left: Any, right: Any) -> Iterator[tuple[tuple[Step, ...], Any]]:
    if left == right:
        return
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key in left:
            yield from _differences((*path, key), left[key], right[key])
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _differences((*path, index), one, other)
    else:
        yield path, left


def _is_certificate(path: tuple[Step, ...], value: Any) -> bool:
    if path and path[-1] == "caBundle":
        return True
    if not isinstance(value, str):
        return False
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    return "-----BEGIN " in value or b"-----BEGIN " in decoded


def _live_value(live: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        if isinstance(step, int):
            live = live[step] if isinstance(live, list) and step < len(live) else None
        else:
            live = live.get(step) if isinstance(live, dict) else None
    return live


def _put(document: Any, path: tuple[Step, ...], value: Any) -> None:
    """Put a value at its place. A chart that finds its own object may leave the place out; then nothing is put."""
    node, last = _live_value(document, path[:-1]), path[-1]
    there = isinstance(node, dict) or (isinstance(node, list) and isinstance(last, int) and last < len(node))
    if there:
        node[last] = value
