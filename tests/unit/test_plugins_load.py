# SPDX-License-Identifier: Apache-2.0
"""Ansible skips a plugin that cannot be imported, with a warning: what it would have done is then missed far from the cause."""

import importlib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
KINDS = ("action", "filter", "lookup", "modules")


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_can_be_imported(kind):
    for file in sorted((PLUGINS / kind).glob("*.py")):
        importlib.import_module(f"ansible_collections.llm.on_eks.plugins.{kind}.{file.stem}")
