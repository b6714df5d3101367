# SPDX-License-Identifier: Apache-2.0
"""What role awx_config makes in AWX, from its own data and without Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.awx import objects

REPO = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
DATA = yaml.load((REPO / "roles/awx_config/vars/main.yml").read_text(), Loader=_Loader)
DEFAULTS = yaml.safe_load((REPO / "roles/awx_config/defaults/main.yml").read_text())
BLUEPRINT = {
    key: DATA[f"__awx_config_{key}"] for key in ("mark", "templates", "questions", "steps", "credential_types")
}
INPUTS = {
    key: DEFAULTS[f"awx_config_{key}"]
    for key in ("organization", "teams", "drift_schedule", "lock_schedule", "notifications")
}
CHOICES = {
    "clusters": ["llm-dev"],
    "models": ["m.1"],
    "engines": ["engine-m-1"],
    "components": ["network", "engine-m-1"],
}


def made(*environments: str, **choices: Any) -> dict[str, Any]:
    """All objects of these environments."""
    names = environments or ("dev",)
    given = {**INPUTS, "environments": [{"name": name, "credentials": [f"aws {name}"]} for name in names]}
    return objects(given, {name: {**CHOICES, **choices} for name in names}, BLUEPRINT)


def templates(environment: str) -> dict[str, Mapping[str, Any]]:
    """Short name → job template of this environment."""
    return {one["name"].split()[-1]: one for one in made(environment)["job_templates"]}
