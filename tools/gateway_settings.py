# SPDX-License-Identifier: Apache-2.0
"""Generates what follows from the gateway's settings in `gateway/src/llm_gateway/config/settings.py`.

From there come the table in gateway/README.md, and in roles/gateway the inputs of the same names in `meta/argument_specs.yml` and their place in
`vars/main.yml` (tools/docs.py goes on from there). `python tools/gateway_settings.py` writes, `--check` only says what is stale (exit code 1).
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "gateway" / "src"))

from llm_gateway.config.settings import documentation, fields  # noqa: E402  the path above makes it importable

MARK = "# From here on: the gateway's own settings, written by tools/gateway_settings.py."
FIXED_MARK = "# Settings that count with a restart only, written by tools/gateway_settings.py."
# Settings that the role sets itself, or that only make sense outside of Kubernetes.
NOT_INPUTS = frozenset(
    [
        "listen",
        "workers",
        "model",
        "kubernetes",
        "kubernetes_namespace",
        "kubernetes_selector",
        "kubernetes_api",
        "kubernetes_token_file",
        "kubernetes_ca_file",
        "api_key_file",
        "keys_dir",
        "admin_key_file",
        "admin_keys_dir",
        "limit_replicas",
        "state_file",
        "drain_timeout",
        "drain_delay",
    ]
)
# The role knows more of where things are than the gateway does: setting → its default there, and what the role says of it.
ROLE_DEFAULTS = {
    "trace_endpoint": (
        "{{ 'http://jaeger.jaeger.svc:4318' if jaeger_state | default('skip') == 'present' else '' }}",
        "; by default to role jaeger, where that is present",
    )
}
TYPES = {
    "text": "str",
    "texts": "list",
    "count": "int",
    "fraction": "float",
    "duration": "raw",
    "size": "raw",
    "switch": "bool",
    "mapping": "dict",
}
FILTERS = {"count": " | int", "switch": " | bool", "fraction": " | float"}


def inputs() -> Iterator[dataclasses.Field[Any]]:
    """The settings that are inputs of the role."""
    return (field for field in fields() if field.name not in NOT_INPUTS)


def default(field: dataclasses.Field[Any]) -> Any:
    """The default as a person writes it: seconds without a fraction, sizes with their unit."""
    if field.name in ROLE_DEFAULTS:
        return ROLE_DEFAULTS[field.name][0]
    value: Any = {} if field.default is dataclasses.MISSING else field.default
    if field.metadata["kind"] == "size":
        return next(
            f"{value // factor}{unit}" for unit, factor in (("MiB", 2**20), ("KiB", 2**10)) if value % factor == 0
        )
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def option(field: dataclasses.Field[Any]) -> str:
    """One input's argument spec."""
    meaning = re.sub(
        r"--([a-z][a-z-]+)",
        lambda found: "gateway_" + found[1].replace("-", "_"),
        field.metadata["meaning"] + ROLE_DEFAULTS.get(field.name, ("", ""))[1],
    ).replace("`", "")
    lines = [
        f"gateway_{field.name}:",
        "  description: >-",
        *(f"    {line}" for line in textwrap.wrap(meaning + ".", 140, break_long_words=False, break_on_hyphens=False)),
        f"  type: {TYPES[field.metadata['kind']]}",
    ]
    if field.metadata["kind"] == "texts":
        lines.append("  elements: str")
    if field.metadata["choices"]:
        lines.append(f"  choices: [{', '.join(field.metadata['choices'])}]")
    lines.append(f"  default: {written(default(field))}")
    return "\n".join(lines)


def written(value: Any) -> str:
    """A default in YAML's flow style; a text that is empty, or a template, in double quotes."""
    if isinstance(value, str) and (not value or "{{" in value):
        return json.dumps(value)
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def after_mark(text: str, mark: str, indent: int, block: str, end: str) -> str:
    """The text with `block` after `mark`, up to the line that begins with `end` (or its own end)."""
    margin = " " * indent
    head, __, rest = text.partition(f"{margin}{mark}\n")
    place = rest.find(f"\n{end}") if end else -1
    indented = "\n".join(f"{margin}{line}" if line else line for line in block.split("\n"))
    return f"{head}{margin}{mark}\n{indented}\n{rest[place + 1 :] if place >= 0 else ''}"


def variables(text: str) -> str:
    """The role's variables: which input is which setting, and which settings a running gateway does not take in."""
    values = "\n".join(
        f'{field.name}: "{{{{ gateway_{field.name}{FILTERS.get(field.metadata["kind"], "")} }}}}"' for field in inputs()
    )
    fixed = "\n".join(f"  - {field.name}" for field in fields() if not field.metadata["reload"])
    text = after_mark(text, MARK, 2, values, "\n")
    return after_mark(text, FIXED_MARK, 0, f"gateway_fixed:\n{fixed}", "\n")


def files() -> dict[Path, str]:
    """The files that follow from the settings."""
    role = REPO / "roles" / "gateway"
    readme = REPO / "gateway" / "README.md"
    head, __, rest = readme.read_text(encoding="utf-8").partition("<!-- settings -->\n")
    specs, values = role / "meta" / "argument_specs.yml", role / "vars" / "main.yml"
    return {
        readme: f"{head}<!-- settings -->\n{documentation()}<!-- /settings -->{rest.partition('<!-- /settings -->')[2]}",
        specs: after_mark(specs.read_text(encoding="utf-8"), MARK, 6, "\n".join(map(option, inputs())), ""),
        values: variables(values.read_text(encoding="utf-8")),
    }


def main() -> int:
    stale = [path for path, text in files().items() if path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(REPO)} is stale: run python tools/gateway_settings.py")
        return 1 if stale else 0
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
