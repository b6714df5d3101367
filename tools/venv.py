# SPDX-License-Identifier: Apache-2.0
"""Make the one virtual environment that everything uses, and say where each part of it came from.

Standard library only: it runs before anything of ours is installed. Safe to call again; nothing is done when the
requirement files have not changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
# The `ansible` package of this version contains exactly the collections that requirements.yml pins.
ANSIBLE_WHEEL = "ansible==14.5.0"
# The last one with awx.awx (requirements-awx.yml).
AWX_WHEEL = "ansible==12.3.0"


def say(text: str) -> None:
    print(f"venv: {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, timeout_s: int = 1800) -> None:
    try:
        subprocess.run([str(part) for part in command], check=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, FileNotFoundError) as error:
        raise SystemExit(f"venv: {' '.join(str(part) for part in command[:4])} … failed: {error}") from None


def fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def ensure_venv_module() -> None:
    """Debian keeps `ensurepip` in a package of its own."""
    if importlib.util.find_spec("ensurepip") is not None:
        return
    if os.geteuid() != 0:
        raise SystemExit("venv: this Python has no ensurepip; install the package python3-venv and try again")
    say("this Python has no ensurepip: installing the Debian package python3-venv")
    run("apt-get", "update", "-q")
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-venv")


def install_packages(venv: Path, requirements: Path) -> None:
    if not any(venv.glob(".requirements*")):  # none yet, or one that was never completed
        ensure_venv_module()
        say(f"making {venv} with Python {sys.version.split()[0]}")
        run(sys.executable, "-m", "venv", "--clear", venv)
    say(f"installing {requirements.name} at the versions of constraints.txt (about a minute)")
    pip = [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    run(*pip, "-r", requirements, "-c", REPO / "constraints.txt")


def installed(collections: Path, name: str) -> str | None:
    manifest = collections / "ansible_collections" / name.replace(".", "/") / "MANIFEST.json"
    if not manifest.exists():
        return None
    return str(json.loads(manifest.read_text())["collection_info"]["version"])


def wanted_collections(requirements: Path) -> dict[str, str]:
    """name -> exact version, read from a requirements.yml without a YAML library."""
    wanted: dict[str, str] = {}
    name = ""
    for line in requirements.read_text().splitlines():
        key, __, value = line.strip().lstrip("- ").partition(":")
        if key == "name":
            name = value.strip()
        elif key == "version":
            wanted[name] = value.strip()
    return wanted


def install_collections(venv: Path, target: Path, requirements: Path, wheel: str) -> None:
    """The collections of `requirements` in `target`, from Ansible Galaxy, or from the package `wheel` that carries the same ones."""
    wanted = wanted_collections(requirements)
    if all(installed(target, name) == version for name, version in wanted.items()):
        return
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fetch_collections(venv, partial, requirements, wheel)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    wrong = {name: installed(target, name) for name, version in wanted.items() if installed(target, name) != version}
    if wrong:
        raise SystemExit(f"venv: the package {wheel} carries {wrong}, {requirements.name} asks for {wanted}")


def fetch_collections(venv: Path, target: Path, requirements: Path, wheel: str) -> None:
    wanted = wanted_collections(requirements)
    galaxy = subprocess.run(
        [venv / "bin" / "ansible-galaxy", "collection", "install", "-r", requirements, "-p", target],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_GALAXY_SERVER_TIMEOUT": "15", "ANSIBLE_CONFIG": os.devnull},
    )
    if galaxy.returncode == 0:
        say(f"collections {', '.join(wanted)} from Ansible Galaxy")
        return
    say(f"Ansible Galaxy does not answer: taking the collections from the package {wheel}")
    with tempfile.TemporaryDirectory() as folder:
        pip = [str(venv / "bin" / "python"), "-m", "pip", "download", "--quiet", "--no-deps"]
        run(*pip, "--only-binary=:all:", "--python-version", "3.12", "-d", folder, wheel)
        file = next(Path(folder).glob("ansible-*.whl"))
        prefixes = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in wanted)
        with zipfile.ZipFile(file) as archive:
            archive.extractall(target, [member for member in archive.namelist() if member.startswith(prefixes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what `make test` needs")
    parser.add_argument("--path", type=Path, default=REPO / ".venv")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
        raise SystemExit(
            f"venv: Python {sys.version.split()[0]} is too old; 3.11 or newer is needed (PYTHON=python3.12 make …)"
        )
    venv: Path = arguments.path
    requirements = REPO / ("requirements-dev.txt" if arguments.dev else "requirements.txt")
    state = fingerprint([REPO / "requirements.txt", requirements, REPO / "requirements.yml", REPO / "constraints.txt"])
    stamp = venv / f".{requirements.stem}"
    if stamp.exists() and stamp.read_text() == state:
        return
    install_packages(venv, requirements)
    install_collections(venv, venv / "collections", REPO / "requirements.yml", ANSIBLE_WHEEL)
    stamp.write_text(state)
    say("ready")


if __name__ == "__main__":
    main()
