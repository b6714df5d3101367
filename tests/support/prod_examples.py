# SPDX-License-Identifier: Apache-2.0
"""The commented-out models of inventories/prod, and inventories in which one of them is not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
MODELS = Path("group_vars", "eks_clusters", "models.yml")
_BLOCK = re.compile(r"(?:^  # .*\n)+", re.M)


def examples() -> dict[str, str]:
    """model -> its block in the file, commented out."""
    text = (REPO / "inventories" / "prod" / MODELS).read_text()
    found = {}
    for block in _BLOCK.findall(text):
        name = re.search(r"^  # - name: (\S+)$", block, re.M)
        if name:
            found[name[1]] = block
    return found


def uncommented(block: str) -> str:
    """As a user takes the marks away: those of the entry, and not of the prose before it."""
    prose, __, entry = block.partition("  # - name:")
    return prose + re.sub(r"^  # ", "  ", "  # - name:" + entry, flags=re.M)


def entry(name: str) -> dict[str, object]:
    """The entry as YAML reads it."""
    (found,) = yaml.safe_load(uncommented(examples()[name]))
    return found


def inventory(folder: Path, *names: str) -> Path:
    """A copy of inventories/prod in which these models are served, besides those that are."""
    copy = folder / "prod"
    shutil.copytree(REPO / "inventories" / "prod", copy)
    text = (copy / MODELS).read_text()
    for name in names:
        text = text.replace(examples()[name], uncommented(examples()[name]))
    (copy / MODELS).write_text(text)
    return copy
