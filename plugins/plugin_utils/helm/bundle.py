# SPDX-License-Identifier: Apache-2.0
"""A folder with everything that is downloaded for a platform: for a controller that reaches no repository.

`charts/NAME-VERSION.tgz` (manifests: `.yaml`) is a chart mirror as `platform_chart_mirror` takes it. `images.txt` names
every image that pods of the platform run. `SHA256SUMS` is as sha256sum(1) writes and checks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...module_utils.errors import LlmOnEksError
from ...module_utils.files import write_whole
from ..describe.descriptor import Component, Release
from . import render, source
from .options import ChartOptions

SUMS, IMAGES, CHARTS = "SHA256SUMS", "images.txt", "charts"


class BundleError(LlmOnEksError):
    """A bundle is not what its checksums say; the text names each file."""


@dataclass(frozen=True)
class Bundle:
    """`charts`: names of files below `charts`; `images`: references, sorted; `changed`: whether a file was written."""

    charts: tuple[str, ...]
    images: tuple[str, ...]
    changed: bool


def write(components: Sequence[Component], options: ChartOptions, folder: Path) -> Bundle:
    """Obtain all charts of components that are present, and write the bundle. Raises ChartError.

    Their digests are those of the components, which come from the lock file.
    """
    releases = [(one, release) for one in components if one.state == "present" for release in one.releases]
    files: dict[str, bytes] = {}
    images = {image for one in components if one.state == "present" for image in (*one.images, *_named(one.manifests))}
    for component, release in releases:
        found = source.obtain(release.chart, options)
        if found.path.is_file():
            files[f"{CHARTS}/{found.name}-{found.version}{found.path.suffix}"] = found.path.read_bytes()
        images |= set(_named(_rendered(component, release, found, options)))
    files[IMAGES] = "".join(f"{image}\n" for image in sorted(images)).encode()
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    files[SUMS] = sums.encode()
    changed = [name for name, content in files.items() if not _same(folder / name, content)]
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    for name in changed:
        write_whole(folder / name, files[name])
    stale = [file for file in (folder / CHARTS).iterdir() if f"{CHARTS}/{file.name}" not in files]
    for file in stale:
        file.unlink()
    charts = tuple(sorted(name.partition("/")[2] for name in files if name.startswith(f"{CHARTS}/")))
    return Bundle(charts, tuple(sorted(images)), bool(changed or stale))


def verify(folder: Path) -> int:
    """How many files a bundle has, all of which are as they were written. Raises BundleError."""
    listed = folder / SUMS
    if not listed.is_file():
        raise BundleError(
            f"{folder} is no bundle: it has no {SUMS}; playbooks/bundle.yml -e bundle_out={folder} makes one"
        )
    wanted = {name: digest for digest, name in (line.split("  ", 1) for line in listed.read_text().splitlines())}
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} - {SUMS}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - there)]
    problems += [f"{name} is not listed" for name in sorted(there - wanted.keys())]
    problems += [
        f"{name} was changed"
        for name, digest in sorted(wanted.items())
        if name in there and hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
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
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key == "image" and isinstance(one, str) and one and one != "auto":
                yield one
            else:
                yield from _named(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)


def _same(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content
