# SPDX-License-Identifier: Apache-2.0
"""References from one component to another's outputs: `${out:network.vpc_id}` in any text of a descriptor. Pure.

A text that is nothing but a reference takes the output's own type; inside other text it is written as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

UNKNOWN = "(known after apply)"
_REFERENCE = re.compile(r"\$\{out:(?P<component>[a-z0-9][a-z0-9._-]*)\.(?P<output>[A-Za-z0-9_-]+)\}")


class UnresolvedError(KeyError):
    """An output that does not exist."""


def references(value: Any) -> Iterator[tuple[str, str]]:
    """(component, output) of every reference in nested data."""
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            yield match["component"], match["output"]
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(value: Any, outputs: Mapping[tuple[str, str], Any]) -> Any:
    """Nested data with every reference replaced. Raises UnresolvedError for one that `outputs` lacks."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return _output(whole, outputs)
        return _REFERENCE.sub(lambda match: str(_output(match, outputs)), value)
    if isinstance(value, Mapping):
        return {resolve(key, outputs): resolve(item, outputs) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, outputs) for item in value]
    return value


def as_text(value: Any) -> Any:
    """Nested data whose texts are of no other type than text: encoders accept no others."""
    if isinstance(value, Mapping):
        return {str(key): as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return str.__str__(value) if isinstance(value, str) and type(value) is not str else value  # pylint: disable=unidiomatic-typecheck


def is_unknown(value: Any) -> bool:
    """Whether nested data still contains a value that is only known after an apply."""
    if isinstance(value, str):
        return UNKNOWN in value
    if isinstance(value, Mapping):
        return any(is_unknown(item) for item in value.values())
    return isinstance(value, list) and any(is_unknown(item) for item in value)


def at_path(value: Any, path: str) -> Any:
    """The value at `status.loadBalancer.ingress[0].hostname`; None where there is none."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _output(match: re.Match[str], outputs: Mapping[tuple[str, str], Any]) -> Any:
    key = (match["component"], match["output"])
    if key not in outputs:
        raise UnresolvedError(".".join(key))
    return outputs[key]
