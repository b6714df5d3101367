# SPDX-License-Identifier: Apache-2.0
"""A folder with everything that is downloaded for a platform: for a controller that reaches no repository.

`charts/NAME-VERSION.tgz` (manifests: `.yaml`) is a chart mirror as `platform_chart_mirror` takes it. `images.txt` names
every image that pods of the platform run. `images/`, where it was asked for, holds them by their digests, as an OCI image layout.
`SHA256SUMS` is as sha256sum(1) writes and checks it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.errors import LlmOnEksError
from ...module_utils.files import write_whole
from ..describe.descriptor import Component, Release
from ..images import mirror, reference
from ..images.ecr import Ecr
from ..images.layout import Layout
from ..images.registry import Registry
from . import render, source
from .download import registry_credentials
from .options import ChartOptions

SUMS, IMAGES, CHARTS, LAYOUT = "SHA256SUMS", "images.txt", "charts", "images"
# An operator is told by an argument which image it gives to the pods that it makes.
_ARGUMENT = re.compile(r"--[\w-]+=((?:[\w-]+\.)+[\w-]+(?::\d+)?/[\w./-]+(?::[\w.-]+|@sha256:[0-9a-f]{64}))")
Say = Callable[[str], None]


class BundleError(LlmOnEksError):
    """A bundle is not what its checksums say; the text names each file."""


@dataclass(frozen=True)
class Bundle:
    """`charts`: names of files below `charts`; `images`: references, sorted; `changed`: whether a file was written."""

    charts: tuple[str, ...]
    images: tuple[str, ...]
    changed: bool


def write(
    components: Sequence[Component],
    options: ChartOptions,
    folder: Path,
    locked: Mapping[str, str] | None = None,
    say: Say = lambda _text: None,
) -> Bundle:
    """Obtain all charts of components that are present, and write the bundle. Raises ChartError, RegistryError.

    Their digests are those of the components, which come from the lock file. `locked`: image → digest in that file; with
    it all images are fetched, those that it does not name by the digest that their tag has now.
    """
    releases = [(one, release) for one in components if one.state == "present" for release in one.releases]
    files: dict[str, bytes] = {}
    images = {image for one in components if one.state == "present" for image in (*one.images, *_named(one.manifests))}
    for component, release in releases:
        found = source.obtain(release.chart, options)
        if found.path.is_file():
            files[f"{CHARTS}/{found.name}-{found.version}{found.path.suffix}"] = found.path.read_bytes()
        images |= set(_named(_rendered(component, release, found, options)))
    fetched = _fetched(sorted(images), locked, folder / LAYOUT, say) if locked is not None else {}
    names = [reference.parse(image).pinned(fetched[image]) if image in fetched else image for image in sorted(images)]
    files[IMAGES] = "".join(f"{name}\n" for name in names).encode()
    layout = _kept(folder / LAYOUT, fetched)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} | layout.sums
    files[SUMS] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
    changed = [name for name, content in files.items() if not _same(folder / name, content)]
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    for name in changed:
        write_whole(folder / name, files[name])
    stale = [file for file in (folder / CHARTS).iterdir() if f"{CHARTS}/{file.name}" not in files]
    for file in stale:
        file.unlink()
    charts = tuple(sorted(name.partition("/")[2] for name in files if name.startswith(f"{CHARTS}/")))
    return Bundle(charts, tuple(sorted(images)), bool(changed or stale or layout.changed))


@dataclass(frozen=True)
class _Kept:
    """`sums`: name → sha256 of the files of the folder of images."""

    sums: dict[str, str]
    changed: bool


def _fetched(images: Sequence[str], locked: Mapping[str, str], folder: Path, say: Say) -> dict[str, str]:
    """image → digest of what is in the folder now."""
    found = {}
    for image in images:
        one = reference.parse(image)
        registry = Registry(one.registry, registry_credentials(one.registry))
        digest = one.digest or locked.get(image) or registry.digest(one.repository, one.tag)
        mirror.copy(registry, one.repository, digest, Layout(folder), one.repository, digest, say)
        found[image] = digest
    return found


def _kept(folder: Path, fetched: dict[str, str]) -> _Kept:
    if not fetched and not folder.exists():
        return _Kept({}, False)
    changed = Layout(folder).keep(fetched)
    blobs = {f"{LAYOUT}/blobs/sha256/{file.name}": file.name for file in folder.glob("blobs/sha256/*")}
    heads = {
        f"{LAYOUT}/{name}": hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("oci-layout", "index.json")
    }
    return _Kept({**blobs, **heads}, changed)


def push(folder: Path, target: str, say: Say = lambda _text: None, ecr: Ecr | None = None) -> int:
    """How many images went from a bundle that is as it was written to a registry (`HOST` or `HOST/PREFIX`), which lacked them.

    Each keeps its path and its tag. `ecr`: the account's registry, whose name is `ecr` in `target`. Raises BundleError, RegistryError.
    """
    verify(folder)
    layout = Layout(folder / LAYOUT)
    if not layout.named():
        raise BundleError(f"{folder} has no images; playbooks/bundle.yml -e bundle_images=true fetches them")
    host, __, prefix = target.rstrip("/").partition("/")
    registry = ecr.login().registry() if ecr else Registry(host, registry_credentials(host))
    moved = 0
    for image, digest in layout.named().items():
        one = reference.parse(image)
        place = f"{prefix}/{one.repository}" if prefix else one.repository
        if ecr:
            ecr.prepare(place)
        moved += mirror.copy(layout, one.repository, digest, registry, place, one.tag or digest, say)
    return moved


def verify(folder: Path) -> int:
    """How many files a bundle has, all of which are as they were written. Raises BundleError."""
    listed = folder / SUMS
    if not listed.is_file():
        raise BundleError(
            f"{folder} is not a bundle: it has no {SUMS}; playbooks/bundle.yml -e bundle_out={folder} makes one"
        )
    wanted = {name: digest for digest, name in (line.split("  ", 1) for line in listed.read_text().splitlines())}
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} - {SUMS}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - there)]
    problems += [f"{name} is not listed" for name in sorted(there - wanted.keys())]
    problems += [
        f"{name} was changed"
        for name, digest in sorted(wanted.items())
        if name in there and _sha256(folder / name) != digest
    ]
    if problems:
        raise BundleError(f"{folder} is not as it was written: {', '.join(problems)}; fetch it again")
    return len(wanted)


def _rendered(component: Component, release: Release, chart: source.ChartFile, options: ChartOptions) -> list[Any]:
    if release.chart.manifests:
        return []
    home = release.namespace or (component.namespace.name if component.namespace else "default")
    request = render.Request(chart, release.name, home, dict(release.values))
    return list(render.render(request, options, render.Cluster()).documents)


def _named(value: Any) -> Iterator[str]:
    """Images that nested data names."""
    if isinstance(value, str):
        found = _ARGUMENT.fullmatch(value)
        if found:
            yield found[1]
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key == "image" and isinstance(one, str) and one and one != "auto":
                yield one
            else:
                yield from _named(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _same(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content
