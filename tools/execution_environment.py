# SPDX-License-Identifier: Apache-2.0
"""Collect what execution-environment.yml names, and write the build context; `--build IMAGE` also builds the image.

The collection's archive, helm and kubectl (tools/obtain.py) and the exact Python requirements go to .local/execution-environment.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

from tools import extra_venv
from tools.obtain import default_cache, obtain

REPO = Path(__file__).resolve().parent.parent
FILES = REPO / ".local" / "execution-environment"
# The builder installs ansible-core itself; the others belong to the local cluster.
LEFT_OUT = {"ansible-core", "flask", "flask-cors", "jsonschema", "moto", "supervisor"}
ENGINES = ("podman", "docker", "buildah")


def collect(cache: Path, programs: Path) -> None:
    """Everything that the definition names, in FILES."""
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir(parents=True)
    run(programs / "ansible-galaxy", "collection", "build", REPO, "--output-path", FILES)
    (archive,) = FILES.glob("llm-on_eks-*.tar.gz")
    archive.rename(FILES / "llm-on_eks.tar.gz")
    for name, path in obtain(["helm", "kubectl"], cache).items():
        shutil.copy2(path, FILES / name)
    (FILES / "requirements.txt").write_text(pinned(), encoding="utf-8")


def pinned() -> str:
    """requirements.txt at the versions of constraints.txt, for ansible-builder takes no constraints."""
    lines = (REPO / "constraints.txt").read_text("utf-8").splitlines()
    versions = {
        name.lower(): version.partition(";")[0] for name, _, version in (line.partition("==") for line in lines)
    }
    names = [re.match(r"[\w-]+", line) for line in (REPO / "requirements.txt").read_text("utf-8").splitlines()]
    wanted = [name[0] for name in names if name and name[0] not in LEFT_OUT]
    return "".join(f"{name}=={versions[name.lower()]}\n" for name in wanted)


def create(programs: Path, context: Path) -> None:
    """The build context, with a Containerfile that all builders take."""
    options = ("--file", "execution-environment.yml", "--output-filename", "Containerfile")
    run(programs / "ansible-builder", "create", *options, "--context", context)


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=REPO, stdin=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", metavar="IMAGE", help="build the image, and give it this name")
    parser.add_argument("--context", type=Path, default=FILES / "context", help="where the build context goes")
    arguments = parser.parse_args()
    programs = extra_venv.obtain("quality", default_cache()) / "bin"
    collect(default_cache(), programs)
    create(programs, arguments.context)
    if arguments.build:
        engine = next((name for name in ENGINES if shutil.which(name)), "")
        if not engine:
            raise SystemExit(f"none of {', '.join(ENGINES)} is installed; the build context is in {arguments.context}")
        run(engine, "build", "-t", arguments.build, "-f", arguments.context / "Containerfile", arguments.context)
    print(arguments.context)


if __name__ == "__main__":
    main()
