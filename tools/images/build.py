# SPDX-License-Identifier: Apache-2.0
"""Decides which images are out of date, and builds those."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.debian import PackageError, install_missing
from tools.progress import Progress

from . import base as base_image
from . import sbom, trust
from .buildah import Buildah, open_store
from .catalog import IMAGES, Image, context_files, digest, reference
from .errors import ImageError


@dataclass(frozen=True)
class Options:
    """`cache`: folder for archives and layers; `base`: auto, debootstrap or a reference; empty paths are searched on this machine."""

    cache: Path
    base: str = "auto"
    arguments: Mapping[str, str] | None = None
    volumes: Sequence[str] = ()
    ca_bundle: Path | None = None
    pip_conf: Path | None = None


@dataclass(frozen=True)
class Plan:
    """One desired image: its `ref`, its files, and its archive."""

    image: Image
    ref: str
    files: Mapping[str, Path]
    archive: Path

    @property
    def sbom(self) -> Path:
        """What is in it: a CycloneDX document beside the archive."""
        return self.archive.with_suffix(".cdx.json")

    @property
    def current(self) -> bool:
        return self.archive.is_file()


def plan(names: Sequence[str], repo: Path, options: Options) -> list[Plan]:
    """The desired images. ImageError for an unknown name or a context without a Dockerfile."""
    base = base_image.choose(options.cache, options.base)
    plans = []
    for name in names:
        image = IMAGES.get(name)
        if image is None:
            raise ImageError(f"there is no image {name!r}: choose from {', '.join(IMAGES)}")
        files = context_files(image, repo)
        if "Dockerfile" not in files:
            raise ImageError(f"image {name}: {image.context}/Dockerfile is missing; is the checkout whole?")
        ref = reference(name, digest(files, _arguments(files, base, options)))
        archive = options.cache / f"{name}-{ref.rpartition(':')[2]}.tar"
        plans.append(Plan(image, ref, files, archive))
    return plans


def require_packages(plans: Sequence[Plan], options: Options) -> None:
    """These images are in the cache, or can be made of what is. Raises ImageError."""
    for one in plans:
        if not (one.current or _packages(one, options)):
            folder, command = one.image.packages
            raise ImageError(
                f"image {one.image.name} wants packages that are not in the cache ({folder}); run {command}"
            )


def _packages(one: Plan, options: Options) -> list[str]:
    """The volume with the packages of the image, where they are in the cache."""
    folder = options.cache.parent / one.image.packages[0]
    return [f"{folder}:/cached:ro"] if one.image.packages[0] and folder.is_dir() else []


def steps(plans: Sequence[Plan], options: Options) -> dict[str, float]:
    """The steps of `build` -> their CPU seconds."""
    base = base_image.choose(options.cache, options.base)
    missing = [one for one in plans if not one.current]
    wanted = {reference for one in missing for reference in _arguments(one.files, base, options).values()}
    return base_image.steps(base, wanted, options.cache) | {one.image.name: one.image.cpu_seconds for one in missing}


def build(plans: Sequence[Plan], options: Options, progress: Progress) -> None:
    """Build each image that is not in the cache. Each ends as an archive; older archives are deleted."""
    if all(one.current for one in plans):
        return
    base = base_image.choose(options.cache, options.base)
    with _only_one(options.cache, progress):
        _install(["buildah", *(["debootstrap"] if base.made_here else [])])
        buildah = open_store(options.cache / "store")
        buildah.forget_containers()
        for one in plans:
            if one.current:
                continue
            arguments = _arguments(one.files, base, options)
            base_image.ensure(base, arguments.values(), options.cache, buildah, progress)
            with progress.step(one.image.name), _staged(one) as context, _secrets(options) as secrets:
                volumes = [*options.volumes, *_packages(one, options)]
                buildah.build(one.ref, context, arguments, secrets, volumes, _labels(one, arguments))
                _write_sbom(one, buildah)
                buildah.archive(one.ref, one.archive)
            _drop_older(one)


def _install(programs: Sequence[str]) -> None:
    """Each is in the Debian package of its name. Raises ImageError."""
    try:
        install_missing({program: program for program in programs}, lambda text: None)
    except PackageError as error:
        raise ImageError(str(error)) from None


def _arguments(files: Mapping[str, Path], base: base_image.Base, options: Options) -> dict[str, str]:
    """The build arguments of a Dockerfile: its bases, and those that the user gave."""
    dockerfile = files["Dockerfile"].read_text(encoding="utf-8")
    bases = {"BASE_IMAGE": base.reference, "BUILD_IMAGE": base.builder}
    return {key: value for key, value in bases.items() if f"ARG {key}=" in dockerfile} | dict(options.arguments or {})


def _labels(one: Plan, arguments: Mapping[str, str]) -> dict[str, str]:
    """https://github.com/opencontainers/image-spec/blob/main/annotations.md; a Dockerfile may say more."""
    name, __, digest = arguments.get("BASE_IMAGE", "").partition("@")
    found = {"version": one.ref.rpartition(":")[2], "base.name": name, "base.digest": digest}
    if "org.opencontainers.image.title=" not in one.files["Dockerfile"].read_text(encoding="utf-8"):
        found |= {"title": f"llm.on_eks {one.image.name}", "licenses": "Apache-2.0"}
    return {f"org.opencontainers.image.{key}": value for key, value in found.items() if value}


def _write_sbom(one: Plan, buildah: Buildah) -> None:
    with buildah.mounted(one.ref) as root:
        said = sbom.document(one.image.name, one.ref, sbom.packages(root))
    one.sbom.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _staged(one: Plan) -> Iterator[Path]:
    """A folder with exactly the files of the digest."""
    with tempfile.TemporaryDirectory(prefix="llm-on-eks-context-") as folder:
        for name, source in one.files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        yield Path(folder)


@contextmanager
def _secrets(options: Options) -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="llm-on-eks-secrets-") as folder:  # 0700
        conf = options.pip_conf
        if conf is None:
            conf = Path(folder) / "pip.conf"
            conf.write_text(trust.pip_conf(trust.read_pip_options()), encoding="utf-8")
        bundle = options.ca_bundle or trust.ca_bundle()
        yield {"pip_conf": conf, **({"ca_bundle": bundle} if bundle else {})}


@contextmanager
def _only_one(cache: Path, progress: Progress) -> Iterator[None]:
    """Two builds of the same cache wait for each other."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.tell("another run builds images: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _drop_older(one: Plan) -> None:
    for file in one.archive.parent.glob(f"{one.image.name}-sha256-*"):
        if file not in (one.archive, one.sbom):
            file.unlink()
