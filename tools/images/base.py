# SPDX-License-Identifier: Apache-2.0
"""The base image of the others: the official Python image, or a Debian image made here where no registry answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.progress import Progress

from .buildah import Buildah
from .errors import ImageError

_REGISTRY = "https://registry-1.docker.io/v2/"
_PROBE_S = 5

_PACKAGES = "ca-certificates,python3,python3-venv"
_COMPILER = Path(__file__).parent / "compiler"
# Files that no container reads: half of the image otherwise.
_DROPPED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)
_FOLDERS_KEPT = ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log", "usr/share/man/man1")
_RECIPE = "1"
# Steps of a build, and their CPU seconds.
BASE_STEP, BASE_CPU_SECONDS = "base image", 45.0
BUILDER_STEP, BUILDER_CPU_SECONDS = "compiler for images", 20.0


@dataclass(frozen=True)
class Base:
    """`reference` as build argument BASE_IMAGE; `builder`: the same with a C compiler, as BUILD_IMAGE, for stages that compile; `made_here`:
    by debootstrap."""

    reference: str
    builder: str
    made_here: bool


OFFICIAL = Base("docker.io/library/python:3.12-slim", "docker.io/library/python:3.12", made_here=False)


def choose(cache: Path, wanted: str) -> Base:
    """`wanted`: `auto`, `debootstrap`, or an image reference. What `auto` finds is kept in `cache`, so that the tags of
    all images do not change with the weather on the network."""
    memory = cache / "base.json"
    if wanted == "debootstrap":
        return _made_here()
    if wanted != "auto":
        # Its owner decides whether it has a compiler.
        return Base(wanted, wanted, made_here=False)
    if memory.is_file():
        return _made_here() if json.loads(memory.read_text(encoding="utf-8"))["made_here"] else OFFICIAL
    base = OFFICIAL if _registry_answers() else _made_here()
    cache.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"made_here": base.made_here}) + "\n", encoding="utf-8")
    return base


def steps(base: Base, wanted: Iterable[str], cache: Path) -> dict[str, float]:
    """The steps of `ensure` -> their CPU seconds. The compiler's image is counted unless the storage has it."""
    if not base.made_here or base.reference not in wanted:
        return {}
    made = {} if _archive(base.reference, cache).is_file() else {BASE_STEP: BASE_CPU_SECONDS}
    return made | ({BUILDER_STEP: BUILDER_CPU_SECONDS} if base.builder in wanted else {})


def ensure(base: Base, wanted: Iterable[str], cache: Path, buildah: Buildah, progress: Progress) -> None:
    """Make the `wanted` references of a base that is made here, in the storage; the build pulls all others."""
    if not base.made_here or base.reference not in wanted:
        return
    if not buildah.has(base.reference):
        archive = _archive(base.reference, cache)
        with progress.step(BASE_STEP):
            if not archive.is_file():
                _debootstrap(archive)
            buildah.import_root(archive, base.reference)
    if base.builder in wanted and not buildah.has(base.builder):
        with progress.step(BUILDER_STEP):
            buildah.build(base.builder, _COMPILER, {"BASE_IMAGE": base.reference}, {}, [])


def _archive(reference: str, cache: Path) -> Path:
    return cache / f"root-{reference.rpartition(':')[2]}.tar"


def _made_here() -> Base:
    recipe = "\n".join((_RECIPE, _PACKAGES, *_DROPPED, *_FOLDERS_KEPT))
    compiler = (_COMPILER / "Dockerfile").read_text(encoding="utf-8")
    return Base(_reference(recipe), _reference(recipe + compiler), made_here=True)


def _reference(recipe: str) -> str:
    suite = _suite()
    digest = hashlib.sha256(f"{suite}\n{recipe}".encode()).hexdigest()
    return f"localhost/llm.on_eks/base:{suite}-{digest[:12]}"


def _suite() -> str:
    """This machine's own release: its package mirror has it for certain."""
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    for line in release.splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ImageError("/etc/os-release names no VERSION_CODENAME; set images_base to an image reference")


def _mirror(suite: str) -> str:
    """The mirror from which this machine's apt gets that release."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", f"Codename: {suite}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sites = done.stdout.split()
    if not sites:
        raise ImageError(f"apt on this machine knows no mirror of {suite}; set images_base to an image reference")
    return sites[0]


def _registry_answers() -> bool:
    request = urllib.request.Request(_REGISTRY, method="GET")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_S):  # noqa: S310 - a constant https address
            return True
    except urllib.error.HTTPError as answer:
        return answer.code == 401  # the registry answers: it asks for a login
    except (urllib.error.URLError, TimeoutError, OSError):
        return False


def _debootstrap(archive: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise ImageError("debootstrap is not installed: apt-get install --no-install-recommends debootstrap")
    suite = _suite()
    archive.parent.mkdir(parents=True, exist_ok=True)
    for left in archive.parent.glob("*.root-*"):
        _remove(left)
    with _emptied(archive.with_suffix(f".root-{os.getpid()}")) as root:
        _run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(root), _mirror(suite)])
        for name in _DROPPED:
            shutil.rmtree(root / name, ignore_errors=True)
        for name in _FOLDERS_KEPT:
            (root / name).mkdir(parents=True, exist_ok=True)
        partial = archive.with_suffix(".partial")
        _run(["tar", "--numeric-owner", "--sort=name", "-C", str(root), "-cf", str(partial), "."])
        partial.replace(archive)


@contextlib.contextmanager
def _emptied(root: Path) -> Iterator[Path]:
    """A folder that is removed at the end, with the mounts of debootstrap in it.

    After a run was killed, its debootstrap may still write to the old folder.
    """
    try:
        yield root
    finally:
        _remove(root)


def _remove(root: Path) -> None:
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    for place in sorted((one for one in mounted if one.startswith(f"{root}/")), reverse=True):
        _run(["umount", "--lazy", place])
    shutil.rmtree(root, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        last = " | ".join(done.stdout.strip().splitlines()[-5:])
        raise ImageError(f"the base image could not be made: {command[0]} failed: {last}")
