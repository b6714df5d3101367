#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A copy of the sources with the compiled part in it, for tests and benchmarks: `compiled_copy.py CACHE` prints where it is.

Made once for each state of the sources and kept in CACHE (the last ones made before it are removed). Exit status 3: it cannot be built here
(no C compiler, no headers, or no mypy); 1: it should have been, and was not.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from backend import wanted

PACKAGE = Path(__file__).resolve().parent.parent
KEPT = 4


def digest() -> str:
    """Of everything that decides what is built."""
    total = hashlib.sha256(f"{sys.version} {sys.executable}".encode())
    for path in sorted([*PACKAGE.glob("src/**/*.py"), *PACKAGE.glob("src/llm_gateway/ui/*"), PACKAGE / "setup.py"]):
        total.update(f"{path.relative_to(PACKAGE)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def build(folder: Path) -> None:
    """Fill a folder. Raises OSError, subprocess.CalledProcessError."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PACKAGE / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(PACKAGE / name, folder)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "LLM_GATEWAY_COMPILE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    shutil.rmtree(folder / "build")


def main() -> int:
    if not wanted() or importlib.util.find_spec("mypyc") is None:
        sys.stderr.write("the compiled part cannot be built here: no C compiler, no Python headers, or no mypy\n")
        return 3
    cache = Path(sys.argv[1])
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy = cache / digest()
        if not copy.exists():
            fresh = cache / "fresh"
            try:
                build(fresh)
            except subprocess.CalledProcessError as error:
                sys.stderr.write(f"the compiled part does not build:\n{error.stdout[-3000:]}{error.stderr[-3000:]}\n")
                return 1
            fresh.replace(copy)
            made = sorted((path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
            for old in made[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
    print(copy / "src")
    return 0


if __name__ == "__main__":
    sys.exit(main())
