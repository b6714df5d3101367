# SPDX-License-Identifier: Apache-2.0
"""docs/model_catalog.schema.json, from role platform's argument spec: editors then complete and check the catalogue.

`python tools/schema.py` writes it, `--check` only says whether it is stale (exit code 1). A file says that it wants it by its first line:
# yaml-language-server: $schema=PATH/docs/model_catalog.schema.json
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parent.parent
SPEC = REPO / "roles" / "platform" / "meta" / "argument_specs.yml"
TARGET = REPO / "docs" / "model_catalog.schema.json"
_TYPES = {
    "str": "string",
    "path": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}
# Instance types, or the word cpu: the spec only says `raw`.
_RAW = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


def schema() -> dict[str, Any]:
    """The whole document: a file of variables with `model_catalog` in it."""
    options = yaml.safe_load(SPEC.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Models that llm.on_eks serves",
        "type": "object",
        "properties": {"model_catalog": option(options["model_catalog"])},
    }


def option(spec: Mapping[str, Any]) -> dict[str, Any]:
    """One option of an argument spec."""
    kind = spec.get("type", "str")
    found: dict[str, Any] = dict(_RAW) if kind == "raw" else {"type": _TYPES[kind]}
    found["description"] = _plain(spec["description"])
    if "choices" in spec:
        found["enum"] = spec["choices"]
    if "default" in spec:
        found["default"] = spec["default"]
    if kind == "list":
        found["items"] = members(spec) if "options" in spec else {"type": _TYPES[spec.get("elements", "str")]}
    elif "options" in spec:
        found |= members(spec)
    return found


def members(spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object with these keys and no others: an editor shows a typo at once."""
    options = spec["options"]
    required = [name for name, one in options.items() if one.get("required")]
    found: dict[str, Any] = {"type": "object", "additionalProperties": False}
    found["properties"] = {name: option(one) for name, one in options.items()}
    return {**found, "required": required} if required else found


def _plain(text: Any) -> str:
    joined = " ".join(text) if isinstance(text, list) else str(text)
    return " ".join(re.sub(r"\b[CVOM]\(([^)]*)\)", r"\1", joined).split())


def main() -> int:
    text = json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
    stale = not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text
    if stale and "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
    if stale:
        print(TARGET.relative_to(REPO))
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
