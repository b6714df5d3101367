# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed, compiled part and all, for tests and benchmarks: `compiled_copy.py CACHE` prints where it is.
With `LLM_GATEWAY_OPTIMIZE=0` it is built in less time and runs slower (setup.py).

Made once for each state of the sources and kept in CACHE (the last ones made before it are removed). Exit status 3: it cannot be built here
(no C compiler or no headers); 1: it should have been, and was not.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from backend import wanted

PACKAGE = Path(__file__).resolve().parent.parent
KEPT = 4


def digest() -> str:
    """Of everything that decides what is built."""
    total = hashlib.sha256(f"{sys.version} {sys.executable} {os.environ.get('LLM_GATEWAY_OPTIMIZE', '3')}".encode())
    for path in sorted(
        [
            *PACKAGE.glob("src/**/*.py"),
            *PACKAGE.glob("src/**/*.c"),
            *PACKAGE.glob("src/llm_gateway/web/ui/*"),
            *PACKAGE.glob("*.py"),
            *PACKAGE.glob("*.toml"),
        ]
    ):
        total.update(f"{path.relative_to(PACKAGE)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def build(folder: Path) -> None:
    """Fill a folder. Raises OSError, subprocess.CalledProcessError."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="llm-gateway-") as scratch:
        # A copy, since building leaves traces in the folder that it is done in.
        package = Path(scratch, "package")
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("tests", "build", "__pycache__", "*.egg-info"))
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", scratch, str(package)],
            env={**os.environ, "LLM_GATEWAY_COMPILE": "1"},
            check=True,
            capture_output=True,
            text=True,
        )
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def main() -> int:
    if not wanted():
        sys.stderr.write("the compiled part cannot be built here: no C compiler, or no Python headers\n")
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
    print(copy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
