# SPDX-License-Identifier: Apache-2.0
"""Collect what execution-environment.yml names, and write the build context; `--build IMAGE` also builds the image.

Everything but packages goes to .local/execution-environment first: the collections, helm and kubectl (tools/obtain.py), and the exact Python
requirements. Where a registry answers, the first of Podman, Docker and Buildah builds on the official Python image. Elsewhere the base is
made here (tools/images), and the image ends as an archive beside the context.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools import extra_venv, venv
from tools.images import base as base_image
from tools.images import trust
from tools.images.buildah import Buildah, open_store
from tools.images.errors import ImageError
from tools.obtain import default_cache, obtain
from tools.progress import Progress

REPO = Path(__file__).resolve().parent.parent
FILES = REPO / ".local" / "execution-environment"
ARCHIVE = FILES / "image.tar"
# The builder installs ansible-core itself.
LEFT_OUT = {"ansible-core"}
ENGINES = ("podman", "docker", "buildah")
# Inside the build, of this machine: which index, and whom to trust.
_PIP_CONF, _BUNDLE = "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"


def collect(cache: Path, programs: Path) -> None:
    """Everything that the definition names, in FILES."""
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir(parents=True)
    run(programs / "ansible-galaxy", "collection", "build", REPO, "--output-path", FILES)
    (archive,) = FILES.glob("llm-on_eks-*.tar.gz")
    archive.rename(FILES / "llm-on_eks.tar.gz")
    for name, folder in collections(cache).items():
        shutil.copytree(folder, FILES / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, path in obtain(["helm", "kubectl"], cache).items():
        shutil.copy2(path, FILES / name)
    (FILES / "requirements.txt").write_text(pinned(), encoding="utf-8")


def collections(cache: Path) -> dict[str, Path]:
    """name → folder of each collection beside ours, at the versions of requirements.yml and requirements-awx.yml."""
    found = {}
    for requirements, wheel in (("requirements.yml", venv.ANSIBLE_WHEEL), ("requirements-awx.yml", venv.AWX_WHEEL)):
        target = cache / "collections" / Path(requirements).stem
        venv.install_collections(REPO / ".venv", target, REPO / requirements, wheel)
        for name in venv.wanted_collections(REPO / requirements):
            found[name] = target / "ansible_collections" / name.replace(".", "/")
    return found


def pinned() -> str:
    """meta/requirements.txt at the versions of constraints.txt, for ansible-builder takes no constraints."""
    lines = (REPO / "constraints.txt").read_text("utf-8").splitlines()
    versions = {
        name.lower(): version.partition(";")[0] for name, __, version in (line.partition("==") for line in lines)
    }
    names = [re.match(r"[\w-]+", line) for line in (REPO / "meta" / "requirements.txt").read_text("utf-8").splitlines()]
    wanted = [name[0] for name in names if name and name[0] not in LEFT_OUT]
    return "".join(f"{name}=={versions[name.lower()]}\n" for name in wanted)


def create(programs: Path, context: Path) -> None:
    """The build context, with a Containerfile that all builders take."""
    options = ("--file", "execution-environment.yml", "--output-filename", "Containerfile")
    run(programs / "ansible-builder", "create", *options, "--context", context)


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=REPO, stdin=subprocess.DEVNULL)


def build(image: str, context: Path, base: base_image.Base, cache: Path) -> str:
    """Build the context; what to do with the image, in a sentence."""
    if base.made_here:
        buildah = build_here(image, context, base, cache)
        buildah.archive(image, ARCHIVE)
        return f"{image} is in {ARCHIVE}; push it with: skopeo copy oci-archive:{ARCHIVE} docker://{image}"
    engine = next((name for name in ENGINES if shutil.which(name)), "")
    if not engine:
        raise ImageError(f"none of {', '.join(ENGINES)} is installed; the build context is in {context}")
    chosen = () if base == base_image.OFFICIAL else ("--build-arg", f"EE_BASE_IMAGE={base.reference}")
    run(engine, "build", *chosen, "-t", image, "-f", context / "Containerfile", context)
    return f"{image} is in the storage of {engine}; push it with: {engine} push {image}"


def build_here(image: str, context: Path, base: base_image.Base, cache: Path) -> Buildah:
    """Build on the base that is made here; the storage that has the image then. Nothing of this machine stays in it."""
    store = cache / "images"
    buildah = open_store(store / "store")
    base_image.ensure(base, [base.reference], store, buildah, Progress({}, lambda text: None))
    with _package_index() as volumes:
        buildah.build(image, context, {"EE_BASE_IMAGE": base.reference}, {}, volumes)
    return buildah


@contextmanager
def _package_index() -> Iterator[list[str]]:
    """Volumes of a build in which pip works as it does outside. The steps of ansible-builder mount no secrets."""
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "pip.conf"
        conf.write_text(trust.pip_conf(trust.read_pip_options()) + f"cert = {_BUNDLE}\n", encoding="utf-8")
        bundle = trust.ca_bundle()
        yield [f"{conf}:{_PIP_CONF}:ro", *([f"{bundle}:{_BUNDLE}:ro"] if bundle else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", metavar="IMAGE", help="build the image, and give it this name")
    parser.add_argument(
        "--base", default="auto", help="auto, debootstrap, or a Debian image with Python (default: auto)"
    )
    parser.add_argument("--context", type=Path, default=FILES / "context", help="where the build context goes")
    arguments = parser.parse_args()
    cache = default_cache()
    programs = extra_venv.obtain("quality", cache) / "bin"
    collect(cache, programs)
    create(programs, arguments.context)
    try:
        base = base_image.choose(cache / "images", arguments.base) if arguments.build else base_image.OFFICIAL
        print(build(arguments.build, arguments.context, base, cache) if arguments.build else arguments.context)
    except ImageError as error:
        raise SystemExit(f"execution environment: {error}") from None


if __name__ == "__main__":
    main()
