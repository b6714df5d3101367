# SPDX-License-Identifier: Apache-2.0
"""Changes of single values in a YAML file of a person: comments, order and everything else stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

# A step into a mapping is its key; into a list of named entries, the entry with this `name`.
Path = Sequence[str]


@dataclass(frozen=True, order=True)
class Edit:
    """Replace the characters from `start` to `end` by `text`."""

    start: int
    end: int
    text: str


def find(document: yaml.Node | None, path: Path) -> yaml.Node | None:
    """The node at a path; None where there is none."""
    for step in path:
        if isinstance(document, yaml.MappingNode):
            document = next((value for key, value in document.value if key.value == step), None)
        elif isinstance(document, yaml.SequenceNode):
            document = next((one for one in document.value if _name(one) == step), None)
        else:
            return None
    return document


def replace(text: str, path: Path, value: Any) -> Edit | None:
    """The edit that sets the value at a path, whose parent must exist; None where it does not."""
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    node = find(document, path)
    if node is not None:
        return Edit(node.start_mark.index, node.end_mark.index, _inline(value))
    parent = find(document, path[:-1])
    if not isinstance(parent, yaml.MappingNode) or not parent.value:
        return None
    return _insert(parent, path[-1], value)


def apply(text: str, edits: Sequence[Edit]) -> str:
    """The text with all edits, which must not overlap."""
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _insert(parent: yaml.MappingNode, key: str, value: Any) -> Edit:
    """A new key behind the one before the last value that stands on one line; beside `source` in a model."""
    after = next((pair for pair in parent.value if pair[0].value == "source"), parent.value[-1])
    place = after[1].end_mark.index
    if parent.flow_style:
        return Edit(place, place, f", {key}: {_inline(value)}")
    return Edit(place, place, f"\n{' ' * after[0].start_mark.column}{key}: {_inline(value)}")


def _name(node: yaml.Node) -> str:
    found = find(node, ["name"]) if isinstance(node, yaml.MappingNode) else None
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""


def _inline(value: Any) -> str:
    """A value on one line, quoted where YAML wants it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
