# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.utils."""

from pathlib import Path

from modules import shared


def resolve_model_path(model_name_or_path, image_model=False):
    path = Path(model_name_or_path)
    return path if path.exists() else Path(shared.args.model_dir) / model_name_or_path
