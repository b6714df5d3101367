# SPDX-License-Identifier: Apache-2.0
"""The argument specs of all our roles, read once per run: the list of all variables that we know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_specs(roles: Path) -> dict[str, Mapping[str, Any]]:
    """variable -> its spec, over the `main` entry point of every role in the folder `roles`.

    Where two roles name the same variable (platform-wide inputs), the spec with nested options wins: it is the more
    detailed one.
    """
    specs: dict[str, Mapping[str, Any]] = {}
    for file in sorted(roles.glob("*/meta/argument_specs.yml")):
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe loader, in C
        for name, spec in document["argument_specs"]["main"].get("options", {}).items():
            if name not in specs or "options" in spec:
                specs[name] = spec
    return specs


def prefixes(roles: Path) -> list[str]:
    """The prefixes of our variables: each role's name, and `platform_`."""
    return [f"{folder.name}_" for folder in sorted(roles.iterdir()) if folder.is_dir()] + ["platform_"]


def load_defaults(roles: Path, load: Callable[[str], Any]) -> dict[str, Any]:
    """variable -> its default, with templates unrendered, over every role. `load` reads a YAML file as Ansible does."""
    found: dict[str, Any] = {}
    for file in sorted(roles.glob("*/defaults/main.yml")):
        found |= load(str(file)) or {}
    return found
