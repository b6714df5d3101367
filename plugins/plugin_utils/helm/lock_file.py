# SPDX-License-Identifier: Apache-2.0
"""The release set: for each downloaded chart, the digest that it had when it was locked; for each branch or tag of a model,
the commit; for each tag of an image, the digest.

It is `release.lock.yml` of an environment. Only playbooks/lock.yml writes it. Every other run only reads it, and
refuses what is not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ...module_utils.errors import LlmOnEksError
from ...module_utils.files import write_whole
from ..describe.descriptor import Chart, Component, Release
from . import source
from .errors import redacted
from .options import ChartOptions

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HEAD = "# The release set of this environment. Written by playbooks/lock.yml; never by hand.\n"


class LockFileError(LlmOnEksError):
    """A lock file cannot be read, or lacks an entry that is needed."""


class LockedChart(msgspec.Struct, frozen=True, order=True):
    """One chart in one version. `source`: its repository or OCI reference; `digest`: sha256 of the archive."""

    source: str
    name: str
    version: str
    digest: str


class LockedModel(msgspec.Struct, frozen=True, order=True):
    """What a model's branch or tag stands for. `asked`: as the catalogue says it; `revision`: a commit, or sha256:DIGEST."""

    source: str
    asked: str
    revision: str


class LockedImage(msgspec.Struct, frozen=True, order=True):
    """An image of others. `reference`: as it is written, with its tag; `digest`: of its manifest or index."""

    reference: str
    digest: str


class LockFile(msgspec.Struct, frozen=True, omit_defaults=True):
    charts: list[LockedChart] = []
    models: list[LockedModel] = []
    images: list[LockedImage] = []


def read(file: Path) -> LockFile:
    """The lock file; an empty one where there is none yet. Raises LockFileError."""
    if not file.is_file():
        return LockFile()
    try:
        return msgspec.convert(yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER) or {}, LockFile)  # noqa: S506
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise LockFileError(f"{file} is not a lock file ({error}); write a new one with playbooks/lock.yml") from None


def locked(components: Sequence[Component], file: Path) -> list[Component]:
    """The components with the digests of the lock file. Raises LockFileError for a chart that it lacks.

    Images keep their tags where it lacks them.
    """
    known: LockFile | None = None
    made = []
    for component in components:
        releases = []
        for release in component.releases if component.state == "present" else []:
            if _is_downloaded(release.chart) and not release.chart.digest:
                known = known or read(file)
                release = _with_digest(release, _digest(component.name, release, known, file))
            releases.append(release)
        made.append(msgspec.structs.replace(component, releases=releases) if releases else component)
    return _with_images(made, file)


def _with_images(components: list[Component], file: Path) -> list[Component]:
    named = {image for component in components for image in component.images}
    digests = {one.reference: f"{one.reference}@{one.digest}" for one in read(file).images if one.reference in named}
    if not digests:
        return components
    return [
        msgspec.structs.replace(
            component,
            images=[digests.get(image, image) for image in component.images],
            manifests=_pinned(component.manifests, digests),
            jobs=[msgspec.structs.replace(job, manifest=_pinned(job.manifest, digests)) for job in component.jobs],
        )
        if set(component.images) & set(digests)
        else component
        for component in components
    ]


def _pinned(value: Any, digests: Mapping[str, str]) -> Any:
    """The same documents, with digests behind the images of containers."""
    if isinstance(value, Mapping):
        return {
            key: digests.get(one, one) if key == "image" and isinstance(one, str) else _pinned(one, digests)
            for key, one in value.items()
        }
    return [_pinned(one, digests) for one in value] if isinstance(value, list) else value


def resolve(components: Sequence[Component], options: ChartOptions) -> LockFile:
    """The digests that the components' charts have now, asked of their sources. Raises ChartError."""
    charts = {
        LockedChart(_source(release.chart), _name(release.chart), release.chart.version, _seen(release.chart, options))
        for component in components
        for release in component.releases
        if component.state == "present" and _is_downloaded(release.chart)
    }
    return LockFile(sorted(charts))


def moves(before: LockFile, after: LockFile) -> list[str]:
    """What a new lock file changes, one line for each change."""
    models = [{f"{one.source} {one.asked or 'main'}": one.revision for one in lock.models} for lock in (before, after)]
    images = [{one.reference: one.digest for one in lock.images} for lock in (before, after)]
    return [*_moved_charts(before, after), *_moved(*models), *_moved(*images)]


def _moved(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    lines = []
    for name in sorted({*old, *new}):
        was, now = old.get(name), new.get(name)
        if was is None:
            lines.append(f"+ {name}  {now}")
        elif now is None:
            lines.append(f"- {name}")
        elif was != now:
            lines.append(f"~ {name}  {was[:19]} → {now[:19]}")
    return lines


def _moved_charts(before: LockFile, after: LockFile) -> list[str]:
    old = {(one.source, one.name): one for one in before.charts}
    new = {(one.source, one.name): one for one in after.charts}
    lines = []
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if was is None and now is not None:
            lines.append(f"+ {now.name} {now.version}  {now.digest[:19]}  {now.source}")
        elif now is None and was is not None:
            lines.append(f"- {was.name} {was.version}  {was.source}")
        elif was and now and was.version != now.version:
            lines.append(f"~ {now.name}  {was.version} → {now.version}  {now.digest[:19]}")
        elif was and now and was.digest != now.digest:
            lines.append(
                f"! {now.name} {now.version}: the same version is another archive, {was.digest[:19]} → {now.digest[:19]}"
            )
    return lines


def pinned_image(reference: str, file: Path) -> str:
    """The reference with the digest of the lock file, unless it has one. Raises LockFileError where the file lacks it."""
    if "@" in reference:
        return reference
    for one in read(file).images:
        if one.reference == reference:
            return f"{reference}@{one.digest}"
    raise LockFileError(
        f"image {reference} is not in {file}; lock it with `ansible-playbook playbooks/lock.yml`, look at what moved, and commit the file"
    )


def write(lock: LockFile, file: Path) -> None:
    """Write the file atomically."""
    text: str = yaml.safe_dump(msgspec.to_builtins(lock), sort_keys=False, width=160)
    write_whole(file, f"---\n{_HEAD}{text}")


def _is_downloaded(chart: Chart) -> bool:
    return bool(chart.repository or chart.oci or "://" in (chart.archive or chart.manifests))


def _source(chart: Chart) -> str:
    return redacted(chart.repository or chart.oci or chart.archive or chart.manifests)


def _name(chart: Chart) -> str:
    return chart.name or (chart.oci or chart.archive).rstrip("/").rpartition("/")[2]


def _seen(chart: Chart, options: ChartOptions) -> str:
    found = source.obtain(msgspec.structs.replace(chart, digest=""), options)
    return f"sha256:{found.digest}"


def _digest(component: str, release: Release, known: LockFile, file: Path) -> str:
    chart = release.chart
    for one in known.charts:
        if (one.source, one.name, one.version) == (_source(chart), _name(chart), chart.version):
            return one.digest
    raise LockFileError(
        f"component {component}: chart {_name(chart)} {chart.version} is not in {file}; lock it with "
        "`ansible-playbook playbooks/lock.yml`, look at what moved, and commit the file"
    )


def _with_digest(release: Release, digest: str) -> Release:
    chart: Any = msgspec.structs.replace(release.chart, digest=digest)
    return msgspec.structs.replace(release, chart=chart)
