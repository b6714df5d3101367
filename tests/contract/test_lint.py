# SPDX-License-Identifier: Apache-2.0
"""The linters, as tests: one command and one closing line for everything."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "plugins/plugin_utils", "plugins/module_utils", "tools", "local", "gateway/src"],
        ["yamllint", "--strict", "."],
        ["ansible-lint", "--offline", "--profile", "production"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_lint(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
