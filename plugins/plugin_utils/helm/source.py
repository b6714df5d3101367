# SPDX-License-Identifier: Apache-2.0
"""A chart's archive on this controller: from a mirror folder, the cache, a repository, a registry, a file or a folder.

A file of plain manifests is treated like an archive, and wrapped as a chart without templates. Every download is cached
under its sha256 and checked against the digest that was asked for.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ...module_utils.files import write_whole
from ..describe.descriptor import Chart
from .documents import parse
from .download import Downloader
from .errors import ChartError, redacted
from .oci import pull
from .options import ChartOptions
from .plain import wrap
from .repository import locate

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EXACT = re.compile(r"v?\d+\.\d+\.\d+[0-9A-Za-z.+-]*")
_LOCKS: dict[str, threading.Lock] = {}
_GUARD = threading.Lock()


@dataclass(frozen=True)
class ChartFile:
    """A chart that is here. `path`: archive or folder; `digest`: sha256 of the archive, or of a folder's names and contents."""

    path: Path
    name: str
    version: str
    digest: str

    @property
    def text(self) -> str:
        return f"{self.name} {self.version}"


def obtain(chart: Chart, options: ChartOptions, downloader: Downloader | None = None) -> ChartFile:
    """The chart, verified. Raises ChartError: which chart, where it was looked for, what to do."""
    check(chart)
    if chart.path:
        return _verified(chart, _folder(Path(chart.path).expanduser()))
    here = chart.archive or chart.manifests
    if here and "://" not in here:
        return _verified(chart, _read(Path(here).expanduser(), chart, options))
    mirrored = _mirrored(chart, options)
    if mirrored:
        return _verified(chart, _read(mirrored, chart, options))
    with _lock(_key(chart)):
        cached = _cached(chart, options)
        return cached or _download(chart, options, downloader or Downloader())


def check(chart: Chart) -> None:
    """Check that the chart has exactly one source, and a version that cannot change its content. Raises ChartError."""
    sources = [name for name in ("repository", "oci", "archive", "path", "manifests") if getattr(chart, name)]
    if len(sources) != 1:
        said = "none" if not sources else " and ".join(sources)
        raise ChartError(
            f"chart {_label(chart)}: give one of repository, oci, archive, path or manifests; it has {said}"
        )
    if (chart.repository or chart.manifests) and not chart.name:
        raise ChartError(f"chart of {redacted(chart.repository or chart.manifests)}: give its name")
    if sources[0] in ("repository", "oci", "manifests") and not _EXACT.fullmatch(chart.version):
        raise ChartError(f"chart {_label(chart)}: version {chart.version!r} is not an exact one, such as 1.2.3")
    if chart.digest and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", chart.digest):
        raise ChartError(f"chart {_label(chart)}: digest {chart.digest!r} is not a sha256 in hex")


def folder_digest(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files, in order of their names."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _label(chart: Chart) -> str:
    name = chart.name or redacted(chart.oci or chart.archive or chart.path or chart.manifests) or "without a name"
    return f"{name} {chart.version}".strip()


def _wanted_digest(chart: Chart) -> str:
    return chart.digest.removeprefix("sha256:")


def _name(chart: Chart) -> str:
    return chart.name or chart.oci.rstrip("/").rpartition("/")[2]


def _key(chart: Chart) -> str:
    words = [redacted(chart.repository or chart.oci or chart.archive or chart.manifests), _name(chart), chart.version]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _lock(key: str) -> threading.Lock:
    with _GUARD:
        return _LOCKS.setdefault(key, threading.Lock())


def _mirrored(chart: Chart, options: ChartOptions) -> Path | None:
    if options.mirror is None or not _name(chart):
        return None
    if not options.mirror.is_dir():
        raise ChartError(
            f"the chart mirror {options.mirror} is not a folder; name a folder of NAME-VERSION.tgz, or none"
        )
    for version in (chart.version, chart.version.removeprefix("v")):
        file = options.mirror / f"{_name(chart)}-{version}{_suffix(chart)}"
        if file.is_file():
            return file
    return None


def _cached(chart: Chart, options: ChartOptions) -> ChartFile | None:
    digest = _wanted_digest(chart)
    if not digest:
        try:
            digest = (options.charts / "named" / _key(chart)).read_text(encoding="ascii").strip()
        except OSError:
            return None
    file = options.charts / f"{digest}{_suffix(chart)}"
    if not file.is_file():
        return None
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:  # truncated or edited: download it again
        file.unlink()
        return None
    return _verified(chart, _read(file, chart, options))


def _download(chart: Chart, options: ChartOptions, downloader: Downloader) -> ChartFile:
    try:
        address, listed = chart.archive or chart.manifests, ""
        if chart.repository:
            address, listed = locate(downloader, chart.repository, chart.name, chart.version)
        elif chart.oci:
            address = f"{chart.oci.rstrip('/')}:{chart.version}"
        content = pull(downloader, address) if address.startswith("oci://") or chart.oci else downloader.get(address)
    except ChartError as error:
        mirror = (
            f"; the mirror {options.mirror} has no {_name(chart)}-{chart.version}{_suffix(chart)}"
            if options.mirror
            else ""
        )
        raise ChartError(
            f"chart {_label(chart)}: {error}{mirror}. Set platform_chart_mirror to a folder that holds the archive, or mend the address"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if listed and listed.removeprefix("sha256:") != digest:
        raise ChartError(
            f"chart {_label(chart)}: {redacted(address)} has sha256 {digest}, its repository's index says {listed}; tell the repository's owner"
        )
    if _wanted_digest(chart) not in ("", digest):
        raise _other_digest(chart, digest, redacted(address))
    options.charts.mkdir(parents=True, exist_ok=True)
    file = options.charts / f"{digest}{_suffix(chart)}"
    write_whole(file, content, private=True)
    try:
        found = _verified(chart, _read(file, chart, options))
    except ChartError:
        file.unlink()
        raise
    write_whole(options.charts / "named" / _key(chart), digest, private=True)
    return found


def _other_digest(chart: Chart, digest: str, where: str) -> ChartError:
    return ChartError(
        f"chart {_label(chart)}: {where} has sha256 {digest}, asked for is {_wanted_digest(chart)}; "
        "if the change is meant, run playbooks/lock.yml"
    )


def _verified(chart: Chart, found: ChartFile) -> ChartFile:
    if _wanted_digest(chart) not in ("", found.digest):
        raise _other_digest(chart, found.digest, str(found.path))
    name = chart.name or (_name(chart) if chart.oci else found.name)
    wrong_version = chart.version and found.version.removeprefix("v") != chart.version.removeprefix("v")
    if found.name != name or wrong_version:
        raise ChartError(f"chart {_label(chart)}: {found.path} holds {found.text}; mend name or version, or the file")
    return found


def _folder(folder: Path) -> ChartFile:
    file = folder / "Chart.yaml"
    if not file.is_file():
        raise ChartError(f"chart {folder}: there is no Chart.yaml in it; name the folder that holds the chart")
    metadata = _metadata(file.read_bytes(), str(folder))
    return ChartFile(folder.resolve(), metadata["name"], metadata["version"], folder_digest(folder))


def _suffix(chart: Chart) -> str:
    return ".yaml" if chart.manifests else ".tgz"


def _read(file: Path, chart: Chart, options: ChartOptions) -> ChartFile:
    if not file.is_file():
        raise ChartError(f"chart {file}: there is no such file; mend the path")
    if chart.manifests:
        return _wrapped(file, chart, options)
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                if re.fullmatch(r"(\./)?[^/]+/Chart\.yaml", member.name) and member.isfile():
                    stream = archive.extractfile(member)
                    metadata = _metadata(stream.read() if stream else b"", str(file))
                    return ChartFile(file.resolve(), metadata["name"], metadata["version"], digest)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ChartError(f"chart {file}: it is not a chart archive ({error}); fetch it again") from None
    raise ChartError(f"chart {file}: the archive holds no Chart.yaml; fetch it again")


def _wrapped(file: Path, chart: Chart, options: ChartOptions) -> ChartFile:
    """Wrap plain manifests.

    A file without Kubernetes objects is refused here, so that an address that answers with a web page is noticed.
    """
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    folder = options.charts / "plain" / f"{chart.name}-{chart.version}-{digest[:16]}"
    if not (folder / "crds" / "manifests.yaml").is_file():
        try:
            documents = parse(content.decode())
        except (ChartError, UnicodeDecodeError):
            documents = []
        if not documents:
            raise ChartError(f"chart {_label(chart)}: {file} holds no Kubernetes objects; mend the address or the file")
        wrap(content, chart.name, chart.version, folder)
    return ChartFile(folder, chart.name, chart.version, digest)


def _metadata(content: bytes, where: str) -> dict[str, str]:
    try:
        document: dict[str, Any] = yaml.load(content, Loader=_LOADER)  # noqa: S506 - a safe loader, in C
        return {"name": str(document["name"]), "version": str(document["version"])}
    except (yaml.YAMLError, KeyError, TypeError, msgspec.MsgspecError):
        raise ChartError(f"chart {where}: its Chart.yaml has no name and version; mend the chart") from None
