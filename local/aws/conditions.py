# SPDX-License-Identifier: Apache-2.0
"""Conditions of IAM's policies, and the wildcards of their actions and resources.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

# Names of condition keys are told apart without regard to case; each has the values that the request has for it.
Context = Mapping[str, tuple[str, ...]]


class UnknownOperator(Exception):
    """A policy has a condition operator that this emulator does not know."""


def list_of(value: Any) -> list[Any]:
    """An element of a policy that may be one value or a list."""
    return value if isinstance(value, list) else [value]


def like(value: str, pattern: str) -> bool:
    """`*` is any text, `?` any character; nothing else is special."""
    return _expression(pattern).fullmatch(value) is not None


@functools.lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    words = {"*": ".*", "?": "."}
    return re.compile("".join(words.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}


def hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether all conditions of a statement hold in a request with these keys. Raises UnknownOperator."""
    values = {key.lower(): found for key, found in context.items()}
    return all(
        _holds(operator, values.get(key.lower(), ()), [_text(one) for one in list_of(wanted)])
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _holds(operator: str, values: tuple[str, ...], wanted: list[str]) -> bool:
    quantity, __, name = operator.rpartition(":")
    if name == "Null":
        return (not values) == (wanted == ["true"])
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negative = "Not" in name
    compare = _OPERATORS.get(name.replace("Not", ""))
    if compare is None:
        raise UnknownOperator(operator)
    if not values:
        return optional or negative or quantity == "ForAllValues"
    found = [any(compare(value, one) for one in wanted) != negative for value in values]
    return all(found) if quantity == "ForAllValues" else any(found)
