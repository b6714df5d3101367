# SPDX-License-Identifier: Apache-2.0
"""Fields of a release that keep the value that they have in the cluster: `Deployment/kong-*
spec.template.metadata.annotations["x/y"]`.

Pure.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .documents import Document
from .errors import ChartError

_STEP = re.compile(r"""\.?(?P<plain>[^.\[\]\s]+)|\[["'](?P<quoted>[^"']+)["']\]|\[(?P<index>[^\]"']+)\]""")


@dataclass(frozen=True)
class Pattern:
    """`kind` and `name` with wildcards; `steps`: names, indices, names of a list's entries, or `*`."""

    kind: str
    name: str
    steps: tuple[str, ...]

    def applies(self, document: Document) -> bool:
        return fnmatch.fnmatchcase(document["kind"], self.kind) and fnmatch.fnmatchcase(
            document["metadata"]["name"], self.name
        )


def pattern(text: str) -> Pattern:
    """From `KIND/NAME PATH`. Raises ChartError."""
    target, __, path = text.strip().partition(" ")
    kind, slash, name = target.partition("/")
    steps: list[str] = []
    position, path = 0, path.strip()
    while position < len(path):
        found = _STEP.match(path, position)
        if not found:
            break
        steps.append(found["plain"] or found["quoted"] or found["index"])
        position = found.end()
    if not slash or not kind or not name or not steps or position < len(path):
        raise ChartError(
            f"ignore entry {text!r} is not of the form `KIND/NAME PATH`, "
            "such as `MutatingWebhookConfiguration/* webhooks[*].clientConfig.caBundle`"
        )
    return Pattern(kind, name, tuple(steps))


def leave(document: Document, live: Document | None, patterns: Sequence[Pattern]) -> Document:
    """The document with the named fields as they are in the cluster; unchanged where the object does not exist yet."""
    if live is None:
        return document
    made = copy.deepcopy(document)
    for wanted in patterns:
        if wanted.applies(document):
            _copy(made, live, wanted.steps)
    return made


def _copy(node: Any, live: Any, steps: Sequence[str]) -> None:
    last = len(steps) == 1
    for key in list(_matching(node, live, steps[0])):
        there, value = _entry(live, key, node)
        if last and isinstance(node, dict):
            if there:
                node[key] = copy.deepcopy(value)
            else:
                node.pop(key, None)
        elif last and there:
            node[key] = copy.deepcopy(value)
        elif there and (isinstance(node, list) or key in node):
            _copy(node[key], value, steps[1:])


def _matching(node: Any, live: Any, step: str) -> Iterator[Any]:
    if isinstance(node, dict):
        known = {**node, **live} if isinstance(live, Mapping) else node
        yield from [key for key in known if fnmatch.fnmatchcase(str(key), step)] if "*" in step else [step]
    elif isinstance(node, list):
        for index, item in enumerate(node):
            named = isinstance(item, dict) and item.get("name") == step
            if step == "*" or step == str(index) or named:
                yield index


def _entry(live: Any, key: Any, node: Any) -> tuple[bool, Any]:
    """(whether it exists, its value) in the live object. List entries are matched by name."""
    if isinstance(live, dict):
        return key in live, live.get(key)
    if isinstance(live, list) and isinstance(key, int):
        name = node[key].get("name") if isinstance(node[key], dict) else None
        if name is not None:
            found = [item for item in live if isinstance(item, dict) and item.get("name") == name]
            return bool(found), found[0] if found else None
        return key < len(live), live[key] if key < len(live) else None
    return False, None
