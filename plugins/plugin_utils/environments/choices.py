# SPDX-License-Identifier: Apache-2.0
"""What a person can choose in an environment: its clusters, models and components, as surveys offer them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader

from ..describe.component_roles import ACCOUNT, TEMPLATE, discover
from ..preflight.specs import prefixes
from .loading import clusters_of, load

_NAME = re.compile(r"^- name: ([a-z0-9_-]+)$", re.MULTILINE)


def choices(folder: Path, roles: Path, loader: DataLoader) -> dict[str, Any]:
    """`clusters`, `models`, `engines` and `components` of an inventory folder. Raises UnknownEnvironment."""
    clusters = clusters_of(folder, loader)
    catalogues = [
        load(f"{folder.absolute()}:{cluster}", folder, prefixes(roles), loader).variables.get("model_catalog")
        for cluster in clusters
    ]
    models = sorted({str(one["name"]) for catalogue in catalogues if isinstance(catalogue, list) for one in catalogue})
    engines = [f"engine-{model.replace('.', '-')}" for model in models]
    return {"clusters": clusters, "models": models, "engines": engines, "components": [*_fixed(roles), *engines]}


def _fixed(roles: Path) -> list[str]:
    """The components of a cluster that do not depend on its catalogue."""
    return sorted(
        name
        for role in discover(roles).values()
        if role.scope != ACCOUNT
        for name in _NAME.findall((roles / role.name / TEMPLATE).read_text(encoding="utf-8"))
    )
