# SPDX-License-Identifier: Apache-2.0
"""Syncs a model from its source onto the volume: complete, verified, and only once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import source as sources
from .bucket import Bucket
from .errors import AccessError, ContentError, SyncError, UnknownSourceError
from .formats import check_header
from .http import Client
from .hub import Hub
from .listing import Listing, RemoteFile
from .select import Wanted, choose
from .store import PUBLISHED_FILE, FileEntry, Manifest, ModelStore
from .transfer import Bounds, Fetched, fetch_all
from .web import list_web

_FILES, _NOTES = "files", "notes"

# (bytes done, bytes in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Access:
    """Addresses and tokens of the sources. Empty: the libraries' defaults."""

    hub_endpoint: str = ""
    hub_token: str = ""
    s3_region: str = ""
    s3_endpoint: str = ""


@dataclass(frozen=True)
class Request:
    """A catalogue entry's files."""

    name: str
    source: str
    revision: str
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True)
class Outcome:
    """`moved_bytes`: bytes that came over the network, or would; `resumed_bytes`: bytes that an earlier run had left."""

    changed: bool
    manifest: Manifest | None
    total_bytes: int = 0
    moved_bytes: int = 0
    resumed_bytes: int = 0


def plan(store: ModelStore, request: Request, client: Client, access: Access | None = None) -> Outcome:
    """What `sync` would do; nothing is written. Raises what `sync` would raise before it writes."""
    there = published(store, request)
    if there:
        return Outcome(False, there, there.size_bytes)
    files = wanted_files(client, request, access or Access())
    require_access(client, request, files, access or Access())
    total = sum(file.size_bytes for file in files)
    if store.root.exists():
        store.want_space(total)
    return Outcome(True, None, total, total)


def sync(
    store: ModelStore,
    request: Request,
    client: Client,
    access: Access | None = None,
    *,
    bounds: Bounds | None = None,
    progress: Progress = lambda done, total: None,
    wait_s: float = 3600.0,
) -> Outcome:
    """Publish the model, if it does not exist yet. SyncError or ModelStoreError: nothing was published.

    What was downloaded before an error stays where the next call finds it. Two callers share one download.
    """
    there = published(store, request)
    if there:
        return Outcome(False, there, there.size_bytes)
    files = wanted_files(client, request, access or Access())
    with store.fetching(request.name, sources.folder_of(request.revision), wait_s) as staging:
        there = published(store, request)
        if there:
            return Outcome(False, there, there.size_bytes)
        run = _Fetch(store, client, request, files, staging, bounds or Bounds(), progress)
        try:
            return run.publish()
        except AccessError as problem:
            raise explained(problem, client, request, access or Access()) from problem  # pylint: disable=bad-exception-cause


def published(store: ModelStore, request: Request) -> Manifest | None:
    """The published model, if it is the requested one."""
    sources.check_pin(sources.parse(request.source), request.revision)
    there = store.published(request.name, sources.folder_of(request.revision))
    same = there is not None and (there.pin, there.wanted) == (request.revision, request.wanted.text())
    return there if same else None


def wanted_files(client: Client, request: Request, access: Access) -> tuple[RemoteFile, ...]:
    """The files at the source that the request selects."""
    found = list_source(client, sources.parse(request.source), request.revision, access)
    files = choose(found.files, request.wanted, request.source)
    for file in files:
        check_path(file.path)
    return as_published(files)


def require_access(client: Client, request: Request, files: Sequence[RemoteFile], access: Access) -> None:
    """AccessError where the source lists its files and refuses to send them, as the Hub does with gated repositories.

    https://github.com/huggingface/huggingface.js/issues/945
    """
    if sources.parse(request.source).scheme != "hf":
        return
    # An empty file has no first byte to ask for.
    smallest = min(files, key=lambda file: file.size_bytes or float("inf"))

    def ask() -> None:
        url, headers = smallest.address()
        with client.open(url, {**headers, "Range": "bytes=0-0"}):
            pass

    try:
        client.again(ask, smallest.path)
    except AccessError as problem:
        raise explained(problem, client, request, access) from problem  # pylint: disable=bad-exception-cause


def explained(problem: AccessError, client: Client, request: Request, access: Access) -> AccessError:
    """The server's refusal of a file, with what to do about it."""
    source = sources.parse(request.source)
    if source.scheme != "hf":
        return problem
    return AccessError(f"{Hub(client, access.hub_endpoint, access.hub_token).explain_access(source.place)} ({problem})")


def as_published(files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
    """With their names on the volume: a single GGUF file always gets the same, so that a plan can name it before the download."""
    if len(files) == 1 and files[0].path.endswith(".gguf"):
        return (replace(files[0], path=PUBLISHED_FILE),)
    return files


def list_source(client: Client, source: sources.Source, revision: str, access: Access) -> Listing:
    """All files of this revision."""
    digest = revision.removeprefix("sha256:")
    if source.scheme == "hf":
        return Hub(client, access.hub_endpoint, access.hub_token).list(source.place, revision)
    if source.scheme == "s3":
        return Bucket(client, source.place, access.s3_region, access.s3_endpoint).list(source.path)
    if source.scheme in ("https", "http"):
        return list_web(client, source.place, digest)
    raise UnknownSourceError(f"source {source.text} is read on the controller, not fetched")


class _Fetch:
    """One download into a staging folder, which may already contain a part."""

    def __init__(
        self,
        store: ModelStore,
        client: Client,
        request: Request,
        files: tuple[RemoteFile, ...],
        staging: Path,
        bounds: Bounds,
        progress: Progress,
    ) -> None:
        self.store, self.client, self.request, self.files = store, client, request, files
        self.folder, self.notes = staging / _FILES, staging / _NOTES
        self.bounds, self._progress = bounds, progress
        self.total = sum(file.size_bytes for file in files)

    def publish(self) -> Outcome:
        self._drop_strangers()
        self.store.want_space(self.total - _used(self.folder))
        try:
            fetched = self._fetch()
            manifest = self._manifest(fetched)
        except ContentError as problem:
            # Damaged files are discarded. If an earlier run had left them, a second try may be enough.
            self.client.say(f"{problem}: fetched once more")
            self.client.stopped.clear()
            fetched = self._fetch()
            manifest = self._manifest(fetched)
        self._check_headers(fetched)
        shutil.rmtree(self.notes)
        self.store.publish_fetched(self.folder, manifest)
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        resumed = sum(one.resumed_bytes for one in fetched)
        return Outcome(True, manifest, self.total, self.total - resumed, resumed)

    def _fetch(self) -> list[Fetched]:
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            self._progress(done, self.total)

        return fetch_all(self.client, self.files, self.folder, self.notes, self.bounds, advance)

    def _manifest(self, fetched: list[Fetched]) -> Manifest:
        request = self.request
        files = tuple(FileEntry(one.path, one.size_bytes, one.sha256) for one in fetched)
        names = (request.name, sources.folder_of(request.revision), request.source)
        manifest = Manifest(*names, files, request.revision, request.wanted.text())
        if request.source.startswith("s3:") and f"sha256:{manifest.digest}" != request.revision:
            shutil.rmtree(self.notes, ignore_errors=True)
            raise ContentError(
                f"the files of {request.source} have digest sha256:{manifest.digest}, and the revision says "
                f"{request.revision}: correct the revision if you trust what is there"
            )
        return manifest

    def _check_headers(self, fetched: list[Fetched]) -> None:
        for one in fetched:
            check_header(self.folder / one.path, one.path)

    def _drop_strangers(self) -> None:
        """Delete files that another selection has left: they are no part of this one."""
        self.folder.mkdir(exist_ok=True)
        known = {self.folder / file.path for file in self.files}
        for path in [one for one in self.folder.rglob("*") if one.is_file() and one not in known]:
            path.unlink()


def _used(folder: Path) -> int:
    """Bytes that the files use on the volume; a hole in a sparse file uses none."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def check_path(path: str) -> str:
    """A path of a listing that stays inside its folder. SyncError for any other."""
    parts = Path(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise SyncError(f"{path!r} cannot be a file of a model: it would leave its folder")
    return path
