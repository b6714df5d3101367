# SPDX-License-Identifier: Apache-2.0
"""One argument specification serves a resource in the graph and in its module: same names, defaults and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import AwsError

COMMON: dict[str, Any] = {
    "tags": {"type": "dict"},
    "purge_tags": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int"},
}


def checked(noun: str, spec: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with defaults and types. Raises AwsError that names the parameter, nested ones too."""
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    result = ArgumentSpecValidator(dict(spec)).validate(_without_none(given))
    if result.error_messages:
        name = given.get("name") or given.get("cluster") or ""
        raise AwsError(f"{noun} {name}: ".replace(" :", ":") + "; ".join(result.error_messages))
    return dict(result.validated_parameters)


def _without_none(value: Any) -> Any:
    """Remove None, which means "not given", at any depth."""
    if isinstance(value, Mapping):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value]
    return value


def text(*, required: bool = False, default: str | None = None, choices: list[str] | None = None) -> dict[str, Any]:
    """A string argument."""
    spec: dict[str, Any] = {"type": "str"}
    if required:
        spec["required"] = True
    if default is not None:
        spec["default"] = default
    if choices:
        spec["choices"] = choices
    return spec


def texts(*, required: bool = False, default: list[str] | None = None) -> dict[str, Any]:
    """A list of strings."""
    spec: dict[str, Any] = {"type": "list", "elements": "str"}
    if required:
        spec["required"] = True
    if default is not None:
        spec["default"] = default
    return spec


def flag(default: bool | None = None) -> dict[str, Any]:
    """A boolean; None means "leave it as it is"."""
    return {"type": "bool"} if default is None else {"type": "bool", "default": default}


def given(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {key: value for key, value in values.items() if value is not None}
