# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of what reads foreign bytes (fuzz/): briefly and from the same start by default, long and ever new with the mark `full`.

A failing input is in the assertion's message; `python gateway/tests/fuzz/run.py TARGET FILE` replays the file that is named there.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parent / "fuzz" / "run.py"
# How many inputs by default: about a second of each, of which starting takes most.
COUNTS = {
    "callers": 2500,
    "client": 1500,
    "head": 20_000,
    "relay": 2000,
    "replies": 5000,
    "reply": 15_000,
    "requests": 30_000,
    "streams": 6000,
}
FULL_S = 300

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason="atheris is not installed: there are wheels for Linux on x86-64 only, see requirements-dev.txt",
    ),
]


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), *arguments, f"-artifact_prefix={folder}/"],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def said(ran: subprocess.CompletedProcess[str]) -> str:
    """What went wrong, without the fuzzer's own lines."""
    return "\n".join(line for line in ran.stdout.splitlines() if not line.startswith(("#", "INFO", "WARNING")))[-8000:]


@pytest.mark.parametrize("target", COUNTS)
@pytest.mark.parametrize(
    "full", [False, pytest.param(True, marks=[pytest.mark.full, pytest.mark.timeout(FULL_S + 300)])]
)
def test_no_bytes_are_too_much(tmp_path: Path, target: str, full: bool) -> None:
    ran = fuzz(tmp_path, target, *([f"-max_total_time={FULL_S}"] if full else ["-seed=1", f"-runs={COUNTS[target]}"]))
    assert ran.returncode == 0, said(ran)
    done = re.search(r"Done (\d+) runs", ran.stdout)
    assert done is not None and int(done[1]) >= COUNTS[target], said(ran)


def test_all_targets_are_in_these_tests(tmp_path: Path) -> None:
    ran = fuzz(tmp_path, "no such target")
    assert ran.returncode == 1
    assert ran.stdout.strip() == "say which target: " + ", ".join(sorted([*COUNTS, "planted"]))


def test_a_bug_is_found_and_can_be_replayed(tmp_path: Path) -> None:
    found = fuzz(tmp_path, "planted", "-seed=1", "-runs=300000")
    assert found.returncode != 0
    assert "AssertionError: planted" in found.stdout
    assert "planted: this input fails: b'" in found.stdout
    (file,) = tmp_path.glob("crash-*")
    again = fuzz(tmp_path, "planted", str(file))
    assert again.returncode != 0
    assert f"planted: this input fails: {file.read_bytes()!r}" in again.stdout
