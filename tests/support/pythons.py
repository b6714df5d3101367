# SPDX-License-Identifier: Apache-2.0
"""The Pythons of this machine that the README promises, and environments with one ansible-core or another."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import yaml

from tools.obtain import default_cache, locked

REPO = Path(__file__).resolve().parents[2]
PROMISED = ("3.11", "3.12", "3.13")
OLDEST = yaml.safe_load((REPO / "meta" / "runtime.yml").read_text())["requires_ansible"].removeprefix(">=")
# pip takes the newest that the Python allows.
NEWEST = "newest"


@functools.cache
def interpreter(version: str) -> str:
    """Its path; empty where there is none. pyenv's commands exist for versions that are not chosen, and then fail."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, kept)):
        try:
            command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == version:
                return candidate
        except OSError:
            continue
    return ""


def environment(version: str, core: str) -> Path:
    """A virtual environment for tests with that Python and ansible-core, kept in the cache; its `bin`."""
    folder = default_cache() / "tests" / f"python-{version}-core-{core}"
    with locked(folder):
        run(interpreter(version), "tools/venv.py", "--dev", "--path", folder)
        wanted = "ansible-core" if core == NEWEST else f"ansible-core=={core}"
        if core == NEWEST or core_of(folder / "bin") != core:
            run(folder / "bin" / "python", "-m", "pip", "install", "-q", "--upgrade", wanted)
    return folder / "bin"


def core_of(binaries: Path) -> str:
    """The version of its ansible-core."""
    said = run(binaries / "ansible", "--version")
    found = re.search(r"core ([\d.]+)", said)
    assert found, said
    return found[1]


def run(*command: object, timeout: float = 3600, cwd: Path = REPO, **options) -> str:
    """What it says; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-6000:]}"
    return done.stdout
