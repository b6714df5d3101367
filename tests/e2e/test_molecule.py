# SPDX-License-Identifier: Apache-2.0
"""All scenarios of extensions/molecule, as `make molecule` runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.full, pytest.mark.cluster]


@pytest.mark.timeout(3000)
def test_every_scenario_passes():
    done = subprocess.run(
        [sys.executable, "-m", "tools.molecule"], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:]
