# SPDX-License-Identifier: Apache-2.0
"""Model files on a shared volume: what is there is whole, verified and never changes.

    ROOT/NAME/REVISION/…files…, manifest.json     published; engines mount it read-only
    ROOT/.staging/NAME@REVISION/                  being fetched, kept when that is cut off; becomes the folder above by one rename
    ROOT/.staging/NAME@REVISION.ID/               the same for what comes as a stream, which cannot be taken up again
    ROOT/.locks/NAME@REVISION/                    one writer at a time, also over NFS, where only mkdir and rename are safe

Used by the module model_sync on a mounted path and, inside the cluster, by the sync Job. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..errors import LlmOnEksError

CHUNK_BYTES = 1 << 20
# A writer touches its lock all the time; one that has been silent for this long is dead.
LOCK_STALE_S = 120.0
_HEARTBEAT_S = 10.0
MANIFEST = "manifest.json"
# The file of a single-file model always has this name: a plan can name it before the file is downloaded.
PUBLISHED_FILE = "model.gguf"
_STAGING = ".staging"
_LOCKS = ".locks"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Progress = Callable[[int, int], None]


class ModelStoreError(LlmOnEksError):
    """The store cannot be read or written: space, permissions, names."""


class WrongContentError(ModelStoreError):
    """The content differs from what was announced; nothing was published."""


class BusyError(ModelStoreError):
    """Another writer is publishing the same model."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a model; `path` is relative and uses forward slashes, `sha256` is lower-case hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published folder contains. `digest` is the sha256 over paths, sizes and digests of its files.

    `pin`: the full revision that it was downloaded for; `wanted`: which of its files were selected.
    """

    name: str
    revision: str
    source: str
    files: tuple[FileEntry, ...]
    pin: str = ""
    wanted: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        lines = [f"{file.sha256} {file.size_bytes} {file.path}\n" for file in sorted(self.files, key=lambda f: f.path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_line(self) -> str:
        """The same on one line: the head of a stream with its files."""
        return json.dumps({**asdict(self), "digest": self.digest}, sort_keys=True) + "\n"

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "digest": self.digest}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """ModelStoreError when the text is no manifest, or was changed after it was written."""
        try:
            data = json.loads(text)
            files = tuple(FileEntry(str(f["path"]), int(f["size_bytes"]), str(f["sha256"])) for f in data["files"])
            names = (str(data["name"]), str(data["revision"]), str(data["source"]))
            manifest = cls(*names, files, str(data.get("pin", "")), str(data.get("wanted", "")))
            written = data["digest"]
        except (ValueError, KeyError, TypeError) as problem:
            raise ModelStoreError(f"a manifest cannot be read: {problem!r}") from problem
        if written != manifest.digest:
            raise ModelStoreError(f"the manifest of {manifest.name}/{manifest.revision} was changed by hand")
        return manifest


def revision_of(sha256: str) -> str:
    """The revision of a model that is one file without a revision of its own: the first 12 digits of its digest."""
    return sha256.lower()[:12]


def manifest_of(name: str, source: str, sha256: str, size_bytes: int) -> Manifest:
    """The manifest of a model that is one file."""
    return Manifest(name, revision_of(sha256), source, (FileEntry(PUBLISHED_FILE, size_bytes, sha256.lower()),))


class ModelStore:
    """A volume with models at `root`. All methods raise ModelStoreError with a sentence to act on."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, name: str, revision: str) -> Path:
        for what, value in (("name", name), ("revision", revision)):
            if not _PART.fullmatch(value):
                raise ModelStoreError(
                    f"model {what} {value!r} cannot be a folder: use letters, digits, dot, dash, underscore"
                )
        return self.root / name / revision

    def published(self, name: str, revision: str) -> Manifest | None:
        """The manifest, if the model exists with every file at its size; contents are not read again."""
        folder = self.folder(name, revision)
        try:
            manifest = Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ModelStoreError:
            return None  # not ours or damaged: publish it again
        whole = all(_size(folder / file.path) == file.size_bytes for file in manifest.files)
        return manifest if whole else None

    def verify(self, name: str, revision: str) -> Manifest:
        """Read every byte. WrongContentError names the files that are missing or differ."""
        manifest = self.published(name, revision)
        if manifest is None:
            raise WrongContentError(
                f"{name}/{revision} is not published in {self.root}, or is not whole: sync it again"
            )
        folder = self.folder(name, revision)
        bad = [file.path for file in manifest.files if sha256_of(folder / file.path) != file.sha256]
        if bad:
            raise WrongContentError(
                f"{name}/{revision}: {', '.join(bad)} differ from the manifest: remove and sync again"
            )
        return manifest

    def list(self) -> list[Manifest]:
        """All published models, by name and revision."""
        found = []
        for file in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            revision, name = file.parent.name, file.parent.parent.name
            if not name.startswith("."):
                manifest = self.published(name, revision)
                if manifest:
                    found.append(manifest)
        return found

    def remove(self, name: str, revision: str) -> bool:
        """Remove a model, at once for new readers; False if it did not exist."""
        folder = self.folder(name, revision)
        if not folder.exists():
            return False
        self._set_aside(folder)
        # Another revision may still exist.
        with _quiet(OSError):
            folder.parent.rmdir()
        return True

    def publish(
        self,
        manifest: Manifest,
        open_file: Callable[[FileEntry], BinaryIO],
        progress: Progress = lambda done, total: None,
        wait_s: float = 600.0,
    ) -> bool:
        """Publish the model atomically; False if it already existed.

        `open_file` returns each file's stream, of which exactly `size_bytes` are read; `progress` gets (bytes done,
        bytes in all). A second writer waits up to `wait_s` seconds for the first and then finds its work done.
        """
        folder = self.folder(manifest.name, manifest.revision)
        try:
            if self._same(manifest):
                return False
            with self._lock(_key(manifest), wait_s):
                if self._same(manifest):
                    return False
                self._publish_locked(folder, manifest, open_file, progress)
        except OSError as problem:
            raise ModelStoreError(f"cannot write {manifest.name} to {self.root}: {problem}") from problem
        return True

    @contextmanager
    def fetching(self, name: str, revision: str, wait_s: float = 600.0) -> Iterator[Path]:
        """The staging folder to download a model into, with what an earlier writer has left in it. Nobody else writes there
        meanwhile.

        A second writer waits up to `wait_s` seconds; BusyError after that.
        """
        self.folder(name, revision)
        try:
            with self._lock(f"{name}@{revision}", wait_s):
                staging = self.root / _STAGING / f"{name}@{revision}"
                staging.mkdir(parents=True, exist_ok=True)
                staging.chmod(0o755)  # engines read as another user, whatever the umask is
                yield staging
        except OSError as problem:
            raise ModelStoreError(f"cannot write {name} to {self.root}: {problem}") from problem

    def publish_fetched(self, staging: Path, manifest: Manifest) -> None:
        """The folder of `fetching` becomes the model. Its files are durable already; it may contain nothing else."""
        self.publish_folder(staging, self.folder(manifest.name, manifest.revision), manifest.to_json())

    def publish_folder(self, staging: Path, target: Path, manifest: str) -> None:
        """Publish a folder whose files are durable as `target` by one rename, with this text as its manifest."""
        for path in staging.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (staging / MANIFEST).unlink(missing_ok=True)
        _write_durably(staging / MANIFEST, manifest.encode())
        self._move_in(staging, target)

    def _move_in(self, staging: Path, folder: Path) -> None:
        for one in (path for path in staging.rglob("*") if path.is_dir()):
            _sync_folder(one)
        _sync_folder(staging)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            self._set_aside(folder)
        staging.rename(folder)
        _sync_folder(folder.parent)

    def forget_fetched(self, name: str, revision: str) -> None:
        """Delete what an interrupted download has left."""
        shutil.rmtree(self.root / _STAGING / f"{name}@{revision}", ignore_errors=True)

    def _publish_locked(
        self,
        folder: Path,
        manifest: Manifest,
        open_file: Callable[[FileEntry], BinaryIO],
        progress: Progress,
    ) -> None:
        total = manifest.size_bytes
        self._drop_leftovers(manifest)
        self.want_space(total)
        staging = self.root / _STAGING / f"{_key(manifest)}.{uuid.uuid4().hex[:8]}"
        staging.mkdir(parents=True)
        staging.chmod(0o755)  # engines read as another user, whatever the umask is
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            progress(done, total)

        try:
            for file in manifest.files:
                with open_file(file) as stream:
                    _copy_verified(stream, _inside(staging, file.path), file, advance)
            _write_durably(staging / MANIFEST, manifest.to_json().encode())
            self._move_in(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _same(self, manifest: Manifest) -> bool:
        there = self.published(manifest.name, manifest.revision)
        return there is not None and there.digest == manifest.digest

    def _set_aside(self, folder: Path) -> None:
        """Rename it first, so that nobody sees a part of it."""
        aside = self.root / _STAGING / f"removed.{uuid.uuid4().hex}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _drop_leftovers(self, manifest: Manifest) -> None:
        for left in (self.root / _STAGING).glob(f"{_key(manifest)}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def want_space(self, total: int) -> None:
        """ModelStoreError unless `total` bytes fit on the volume."""
        free = shutil.disk_usage(self.root).free
        if free < total:
            raise ModelStoreError(
                f"{self.root} has {free / 1e6:.0f} MB free and the model needs {total / 1e6:.0f} MB: "
                "enlarge the volume or remove old revisions"
            )

    @contextmanager
    def _lock(self, key: str, wait_s: float) -> Iterator[None]:
        lock = self.root / _LOCKS / key
        lock.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                lock.mkdir()
                break
            except FileExistsError:
                if self._is_stale(lock):
                    # Only one rename succeeds; the other writer finds nothing and tries again.
                    with _quiet(FileNotFoundError):
                        lock.rename(lock.with_name(f"{lock.name}.stale-{uuid.uuid4().hex[:8]}"))
                    continue
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"{key.replace('@', '/')} is being published by another writer for {wait_s:.0f} s: "
                    f"wait for it, or remove {lock} if there is none"
                )
            time.sleep(0.2)
        try:
            with _touched(lock):
                yield
        finally:
            with _quiet(FileNotFoundError):
                lock.rmdir()
            for stale in lock.parent.glob(f"{lock.name}.stale-*"):
                with _quiet(FileNotFoundError):
                    stale.rmdir()

    def _is_stale(self, lock: Path) -> bool:
        """Judged by the file server's clock, which may differ from ours."""
        probe = lock.parent / f".now-{uuid.uuid4().hex}"
        try:
            probe.touch()
            return probe.stat().st_mtime - lock.stat().st_mtime > LOCK_STALE_S
        except FileNotFoundError:
            return False
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def _touched(lock: Path) -> Iterator[None]:
    """A heartbeat: touches the lock while this process lives, also while it waits for a server."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_S):
            with _quiet(FileNotFoundError):
                os.utime(lock)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sha256_of(path: Path) -> str:
    """Hex digest of a whole file. Without hashlib.file_digest: some compilers' images have Python 3.10."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _copy_verified(stream: BinaryIO, target: Path, file: FileEntry, advance: Callable[[int], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    left = file.size_bytes
    with target.open("xb") as out:
        while left:
            # read1: what a pipe has, at once. It never reads more bytes than announced: the sender may keep the pipe
            # open.
            chunk = _read_some(stream, min(left, CHUNK_BYTES))
            if not chunk:
                raise WrongContentError(
                    f"{file.path}: the stream ended after {file.size_bytes - left} of {file.size_bytes} bytes; "
                    "nothing was published: run it again"
                )
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
            advance(len(chunk))
        out.flush()
        os.fsync(out.fileno())
    target.chmod(0o644)
    if digest.hexdigest() != file.sha256:
        raise WrongContentError(
            f"{file.path}: sha256 is {digest.hexdigest()}, not {file.sha256}; nothing was published: "
            "the source is not what the catalogue's revision says"
        )


def _read_some(stream: Any, limit: int) -> bytes:
    read1 = getattr(stream, "read1", None)
    return bytes(read1(limit) if read1 else stream.read(limit))


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.name in ("", MANIFEST):
        raise ModelStoreError(f"{name!r} cannot be a file of a model: give a relative path without ..")
    return folder / path


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    path.chmod(0o644)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _key(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.revision}"


@contextmanager
def _quiet(*kinds: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kinds:
        return
