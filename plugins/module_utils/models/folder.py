# SPDX-License-Identifier: Apache-2.0
"""A folder on this machine, published as it is: file:///FOLDER."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import ContentError
from .formats import check_header
from .listing import RemoteFile
from .select import Wanted, choose
from .source import Source, folder_of
from .store import FileEntry, Manifest, ModelStore, sha256_of
from .sync import Outcome


def publish_folder(
    store: ModelStore, name: str, source: Source, revision: str, wanted: Wanted, *, check: bool = False
) -> Outcome:
    """Publish the wanted files of a folder. ContentError when they do not match the revision (the manifest's digest)."""
    manifest = describe_folder(name, source, wanted, revision)
    there = store.published(name, manifest.revision)
    if there is not None and there.digest == manifest.digest:
        return Outcome(False, there, there.size_bytes)
    if not check:
        store.publish(manifest, _opener(Path(source.place)))
    return Outcome(True, manifest, manifest.size_bytes, manifest.size_bytes)


def describe_folder(
    name: str, source: Source, wanted: Wanted, revision: str = "", digest_of: Callable[[Path], str] = sha256_of
) -> Manifest:
    """The manifest of the wanted files. ContentError when they do not match the revision (the manifest's digest)."""
    root = Path(source.place)
    found = [path for path in sorted(root.rglob("*")) if path.is_file()]
    remote = [RemoteFile(path.relative_to(root).as_posix(), path.stat().st_size, lambda: ("", {})) for path in found]
    files = []
    for file in choose(remote, wanted, source.text):
        check_header(root / file.path, file.path)
        files.append(FileEntry(file.path, file.size_bytes, digest_of(root / file.path)))
    digest = Manifest(name, "", "", tuple(files)).digest
    pin = f"sha256:{digest}"
    if revision and revision != pin:
        raise ContentError(f"{source.text} has digest {pin}, and its revision says {revision}")
    return Manifest(name, folder_of(pin), source.text, tuple(files), pin, wanted.text())


def _opener(root: Path) -> Callable[[FileEntry], BinaryIO]:
    return lambda entry: (root / entry.path).open("rb")
