# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a Neuron model are.

flat      NAME/{config.json, tokenizer…, *.safetensors}, artifacts in NAME/neuron_artifacts, or compiled into NAME itself
divided   NAME/{model, tokenizer, neuron_artifacts}: the layout of the AWS walk-through of 2024
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SettingsError

ARTIFACTS = "neuron_artifacts"
COMPILED_CONFIG = "neuron_config.json"
MANIFEST = "manifest.json"
SUFFIX = "-neuron"


@dataclass(frozen=True)
class ModelFolder:
    """`config`: the model's config.json. `compiled`: optimum's neuron_config.json, empty without one. `manifest`: of the artifacts, ours."""

    root: Path
    weights: Path
    tokenizer: Path
    artifacts: Path | None
    config: Mapping[str, Any]
    compiled: Mapping[str, Any]
    manifest: Mapping[str, Any]


def is_neuron(name: str, root: Path) -> bool:
    """Whether upstream's loader for this folder is ours: by what lies in it, or by its name."""
    return (
        name.lower().endswith(SUFFIX)
        or (root / ARTIFACTS).is_dir()
        or (root / COMPILED_CONFIG).is_file()
        or (root / "model" / COMPILED_CONFIG).is_file()
    )


def is_divided(root: Path) -> bool:
    return not (root / "config.json").is_file() and (root / "model" / "config.json").is_file()


def read_folder(root: Path, artifacts: Path | None = None) -> ModelFolder:
    """SettingsError when there is no model. `artifacts`: where they are instead of inside the folder."""
    weights = root / "model" if is_divided(root) else root
    if not (weights / "config.json").is_file():
        raise SettingsError(f"{root} has no config.json: it holds no model, or is not synced yet")
    tokenizer = root / "tokenizer" if (root / "tokenizer").is_dir() else weights
    if artifacts is None and (root / ARTIFACTS).is_dir():
        artifacts = root / ARTIFACTS
    if artifacts is None and (weights / COMPILED_CONFIG).is_file():
        artifacts = weights
    return ModelFolder(
        root=root,
        weights=weights,
        tokenizer=tokenizer,
        artifacts=artifacts,
        config=_json(weights / "config.json"),
        compiled=_json(artifacts / COMPILED_CONFIG) if artifacts else {},
        manifest=_json(artifacts / MANIFEST) if artifacts else {},
    )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as problem:
        raise SettingsError(f"{path} is no JSON: {problem}") from problem
    return found if isinstance(found, dict) else {}
