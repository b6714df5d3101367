# SPDX-License-Identifier: Apache-2.0
"""Ansible skips a plugin that cannot be imported, with a warning: what it would have done is then missed far from the cause."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PLUGINS = REPO / "plugins"
KINDS = ("action", "filter", "lookup", "modules")
# What requirements.txt adds to ansible-core and what that needs.
ADDED = {"boto3", "botocore", "msgspec", "urllib3", "websockets"}
LOAD_WITHOUT = """
import importlib, sys
sys.modules |= dict.fromkeys(sys.argv[1].split(","))
for name in sys.argv[2:]:
    importlib.import_module(f"ansible_collections.llm.on_eks.plugins.filter.{name}")
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_can_be_imported(kind):
    for file in sorted((PLUGINS / kind).glob("*.py")):
        importlib.import_module(f"ansible_collections.llm.on_eks.plugins.{kind}.{file.stem}")


@pytest.mark.programs
def test_filters_load_where_only_ansible_is_as_in_the_checks_of_galaxy():
    assert set(re.findall(r"^[\w-]+", (REPO / "requirements.txt").read_text(), re.MULTILINE)) >= ADDED
    names = [file.stem for file in sorted((PLUGINS / "filter").glob("*.py"))]
    command = [sys.executable, "-c", LOAD_WITHOUT, ",".join(sorted(ADDED)), *names]
    done = subprocess.run(command, cwd=REPO / "collections", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
