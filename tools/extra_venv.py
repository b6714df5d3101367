# SPDX-License-Identifier: Apache-2.0
"""A virtual environment for one purpose, in the cache: `python -m tools.extra_venv docs` makes it from requirements-docs.txt.

Progress goes to stderr; stdout is the environment's folder. Nothing is done when the requirements have not changed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tools.obtain import default_cache, locked

REPO = Path(__file__).resolve().parent.parent
KINDS = {
    "bench": "boto3, s3fs and huggingface_hub",
    "docs": "mkdocs and its theme",
    "envoy": "Envoy",
    "quality": "ansible-runner, ansible-builder, molecule, antsibull",
}
# These have all their versions in their own file; the others share the project's.
_ALONE = ("bench", "docs", "envoy")
TIMEOUT_S = 1200


def inputs(kind: str) -> list[Path]:
    files = [REPO / f"requirements-{kind}.txt"]
    return files if kind in _ALONE else [*files, REPO / "requirements.txt", REPO / "constraints.txt"]


def folder(kind: str, cache: Path) -> Path:
    """Where it is, by a digest of everything that it is made from."""
    digest = hashlib.sha256(sys.version.encode())
    for file in inputs(kind):
        digest.update(file.read_bytes())
    return cache / "venvs" / f"{kind}-{digest.hexdigest()[:12]}"


def obtain(kind: str, cache: Path) -> Path:
    """The environment's folder, made if necessary. Raises SystemExit with a sentence."""
    made = folder(kind, cache)
    with locked(made):
        if not (made / "complete").exists():
            print(f"venv: making one for {KINDS[kind]} (about a minute)", file=sys.stderr, flush=True)
            shutil.rmtree(made, ignore_errors=True)
            _make(kind, made)
            (made / "complete").touch()
    return made


def _make(kind: str, made: Path) -> None:
    constraints = [] if kind in _ALONE else ["-c", str(REPO / "constraints.txt")]
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(made)], [*pip, "-r", str(inputs(kind)[0]), *constraints]):
        done = subprocess.run(command, check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(f"venv: {' '.join(command[:4])} … failed; the lines above say why")


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        raise SystemExit(f"usage: python -m tools.extra_venv {'|'.join(KINDS)}")
    print(obtain(sys.argv[1], default_cache()))


if __name__ == "__main__":
    main()
