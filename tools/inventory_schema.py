# SPDX-License-Identifier: Apache-2.0
"""A JSON Schema of all inventory variables, for editors: they complete names, show descriptions, and mark what preflight would
refuse.

A file names it in its first line: `# yaml-language-server: $schema=…/docs/inventory.schema.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

Schema = dict[str, Any]
# A template stands for a value of any type.
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{"}
_NUMBER_AS_TEXT: Schema = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}
_SIMPLE: dict[str, list[Schema]] = {
    "bool": [{"type": "boolean"}],
    "int": [{"type": "integer"}, _NUMBER_AS_TEXT],
    "float": [{"type": "number"}, _NUMBER_AS_TEXT],
    "str": [{"type": ["string", "number", "boolean"]}],
    "path": [{"type": "string"}],
}


def description(text: Any) -> str:
    """Ansible's markup as plain text, on one line."""
    joined = " ".join(text) if isinstance(text, list) else str(text)
    return " ".join(re.sub(r"\b[CVOM]\(([^)]*)\)", r"\1", joined).split())


def schema(options: Mapping[str, Mapping[str, Any]], prefixes: Collection[str]) -> Schema:
    """The schema of a file of variables: `options` by name; other names may not begin as ours do (`prefixes`)."""
    others = "^(?!" + "|".join(sorted(prefixes)) + ")"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Variables of llm.on_eks",
        "type": ["object", "null"],
        "properties": {name: _value(option) for name, option in sorted(options.items())},
        "patternProperties": {others: {}},
        "additionalProperties": False,
    }


def _value(option: Mapping[str, Any]) -> Schema:
    kind = option.get("type", "str")
    made: Schema = {"description": description(option.get("description", ""))}
    if kind == "raw":
        return made
    if option.get("choices") and kind != "list":
        made["anyOf"] = [{"enum": list(option["choices"])}, _TEMPLATE]
    elif kind == "list":
        made["anyOf"] = [{"type": "array", "items": _element(option)}, _TEMPLATE]
    elif kind == "dict":
        made["anyOf"] = [_mapping(option), _TEMPLATE]
    else:
        made["anyOf"] = [*_SIMPLE[kind], _TEMPLATE]
    # As in Ansible, null means that no value is given.
    made["anyOf"].append({"type": "null"})
    return made


def _element(option: Mapping[str, Any]) -> Schema:
    one = {key: option[key] for key in ("options", "choices") if key in option}
    return _value({"type": option.get("elements", "raw"), **one})


def _mapping(option: Mapping[str, Any]) -> Schema:
    inner = option.get("options")
    if not inner:
        return {"type": "object"}
    required = [name for name, one in inner.items() if one.get("required")]
    found: Schema = {"type": "object", "properties": {name: _value(one) for name, one in inner.items()}}
    return {**found, "additionalProperties": False, **({"required": required} if required else {})}


def text(options: Mapping[str, Mapping[str, Any]], prefixes: Collection[str]) -> str:
    """The schema as JSON, one line per variable, so that a changed variable is one changed line."""
    whole = schema(options, prefixes)
    lines = [
        f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in whole.pop("properties").items()
    ]
    return f'{json.dumps(whole)[:-1]}, "properties": {{\n' + ",\n".join(lines) + "\n}}\n"
