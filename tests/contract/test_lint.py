# SPDX-License-Identifier: Apache-2.0
"""The linters, as tests: one command and one closing line for everything."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.content_cache import ContentCache, key_of

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TYPED = ["plugins/plugin_utils", "plugins/module_utils", "tools", "local", "gateway/src"]
ANSIBLE_LINT = ["ansible-lint", "--offline", "--profile", "production"]
# What ansible-lint reads: what it checks, and the modules and filters that tasks name (exclude_paths in .ansible-lint).
READ = (
    "roles",
    "playbooks",
    "inventories",
    "changelogs",
    "meta",
    "galaxy.yml",
    "requirements.yml",
    "site.yml",
    "destroy.yml",
)
READ += (
    "plugins/action",
    "plugins/filter",
    "plugins/lookup",
    "plugins/modules",
    "plugins/module_utils",
    "plugins/doc_fragments",
)
READ += (
    "extensions",
    "mkdocs.yml",
    "execution-environment.yml",
    "requirements-awx.yml",
    ".ansible-lint",
    ".yamllint",
    "ansible.cfg",
)
_FOUND_GOOD = ContentCache("lint")


def passes(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        # ansible-test sanity takes no longer lines.
        ["ruff", "check", ".", "--select", "E501", "--config", "lint.pycodestyle.max-line-length=160"],
        ["ruff", "format", "--check", "."],
        ["mypy", *TYPED],
        ["yamllint", "--strict", "."],
    ],
    ids=lambda command: " ".join(command[:4]),
)
def test_lint(command):
    passes(command)


def test_the_result_of_ansible_lint_depends_on_every_playbook_at_the_top():
    """What is new at the top must be named in READ."""
    assert {file.name for file in REPO.glob("*.y*ml")} <= set(READ)


def test_ansible_lint():
    """A minute of work: what it found good it is not asked again."""
    versions = [metadata.version(name) for name in ("ansible-lint", "ansible-core", "yamllint")]
    key = key_of(ANSIBLE_LINT, versions, sources=READ)
    if _FOUND_GOOD.get(key) is None:
        passes(ANSIBLE_LINT)
        _FOUND_GOOD.put(key, "good")
