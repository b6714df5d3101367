# SPDX-License-Identifier: Apache-2.0
"""`ansible-test sanity` on what is committed: `python -m tools.sanity [TEST …]`, with the Python and the ansible-core that it is run by.

ansible-test wants the collection in a folder `ansible_collections/llm/on_eks` that is no link, beside the collections that it depends on. Two of its
tests need help:
- `import` loads every plugin in a virtual environment without the packages of requirements.txt; they are added to it.
- `pylint` takes a quarter of an hour, so it runs only when it is named. It asks that no name is `_`; what is not used is called `__` here.

Nothing but the package index is reached: pip comes from Python's own ensurepip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
# What ansible-test would download to get pip, in the place where it looks first. One for each version of pip that it wants.
_BOOTSTRAP = """import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade"])
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *words]))
"""
_PIPS = ("24_2", "25_2")
_APART = ("import", "pylint")
# One file with no imports of ours: enough for ansible-test to make the environment.
_SMALL = "plugins/filter/aws_partition.py"


def tree(folder: Path) -> Path:
    """The collection as it is committed, where ansible-test wants it; the collections that it depends on beside it."""
    collections = folder / "ansible_collections"
    for name in ("amazon", "kubernetes"):
        shutil.copytree(REPO / ".venv" / "collections" / "ansible_collections" / name, collections / name)
    subprocess.run(["git", "clone", "-q", REPO, collections / "llm" / "on_eks"], check=True)
    return collections / "llm" / "on_eks"


def environment(home: Path) -> dict[str, str]:
    """Everything that ansible-test keeps goes to `home`."""
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in _PIPS:
        (cache / f"get_pip_{version}.py").write_text(_BOOTSTRAP, "utf-8")
    programs = Path(sys.executable).parent
    return {**os.environ, "HOME": str(home), "LC_ALL": "C.UTF-8", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def sanity(collection: Path, surroundings: dict[str, str], *arguments: str) -> int:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = ["ansible-test", "sanity", "--local", "--python", python, "--color", "no", *arguments]
    return subprocess.run(command, cwd=collection, env=surroundings, check=False).returncode


def add_packages(home: Path) -> None:
    """Puts the packages of requirements.txt into the environment that `import` loads plugins in."""
    for place in home.glob(".ansible/test/venv/sanity.import.plugin/*/*/lib/python*/site-packages"):
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(place),
            "-c",
            str(REPO / "constraints.txt"),
        ]
        subprocess.run([*pip, "msgspec", "boto3", "urllib3", "websockets", "cryptography"], check=True)


def main(wanted: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="sanity-") as made:
        home = Path(made) / "home"
        surroundings, collection = environment(home), tree(Path(made))
        named = [f"--test={name}" for name in wanted if name != "import"]
        failed = 0
        if named or not wanted:
            failed |= sanity(collection, surroundings, *(named or [f"--skip-test={name}" for name in _APART]))
        if "import" in wanted or not wanted:
            sanity(collection, surroundings, "--test=import", _SMALL)
            add_packages(home)
            failed |= sanity(collection, surroundings, "--test=import")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
