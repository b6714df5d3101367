# SPDX-License-Identifier: Apache-2.0
"""Branches and tags in the catalogue: the lock file says which content they stand for, and only playbooks/lock.yml asks anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...module_utils.models import source as sources
from ...module_utils.models.bucket import Bucket
from ...module_utils.models.errors import SyncError, UnknownSourceError
from ...module_utils.models.http import Client
from ...module_utils.models.hub import Hub
from ...module_utils.models.select import Wanted, choose
from ...module_utils.models.source import Source
from ...module_utils.models.store import FileEntry, Manifest
from ...module_utils.models.sync import Access, as_published
from ...module_utils.models.web import list_web
from ..helm.lock_file import LockedModel, read

Entry = Mapping[str, Any]


def pinned(catalog: Iterable[Entry], file: Path) -> list[Entry]:
    """The entries with the revisions of the lock file. What it lacks keeps its branch or tag. Raises LockFileError."""
    entries = list(catalog)
    if not any(map(unpinned, with_adapters(entries))):
        return entries
    known = {(one.source, one.asked): one.revision for one in read(file).models}

    def pin(entry: Entry) -> Entry:
        found = {**entry, "lora": list(map(pin, entry["lora"]))} if entry.get("lora") else entry
        if unpinned(entry) and _key(entry) in known:
            return {**found, "revision": known[_key(entry)]}
        return found

    return list(map(pin, entries))


def unpinned(entry: Entry) -> Source | None:
    """The entry's source, where its revision may mean another content tomorrow. The controller sees what it reads itself."""
    if entry.get("state", "present") == "absent":
        return None
    try:
        source = sources.parse(str(entry.get("source") or ""))
    except UnknownSourceError:
        return None
    if source.scheme not in sources.IN_CLUSTER:
        return None
    try:
        sources.check_pin(source, str(entry.get("revision") or ""))
    except UnknownSourceError:
        return source
    return None


def with_adapters(catalog: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, and the adapters that are served with them."""
    for entry in catalog:
        yield entry
        if entry.get("state", "present") == "present":
            yield from entry.get("lora") or ()


def resolve(catalog: Iterable[Entry], access: Access, client: Client) -> list[LockedModel]:
    """What the branches and tags stand for now, asked of their sources. Raises SyncError."""
    found = {}
    for entry in catalog:
        source = unpinned(entry)
        if source is not None:
            found[_key(entry)] = LockedModel(*_key(entry), _revision(entry, source, access, client))
    return [found[key] for key in sorted(found)]


def _revision(entry: Entry, source: Source, access: Access, client: Client) -> str:
    if source.scheme == "hf":
        return Hub(client, access.hub_endpoint, access.hub_token).resolve(source.place, _key(entry)[1])
    if source.scheme == "s3":
        return f"sha256:{_digest_of_bucket(entry, source, access, client)}"
    index = list_web(client, source.place, "").facts.get("index")
    if not index:
        raise SyncError(
            f"{source.text} is one file: write its digest as the revision (sha256:DIGEST), or name a {sources.INDEX} beside it"
        )
    return f"sha256:{index}"


def _digest_of_bucket(entry: Entry, source: Source, access: Access, client: Client) -> str:
    bucket = Bucket(client, source.place, access.s3_region, access.s3_endpoint)
    chosen = as_published(choose(bucket.list(source.path).files, wanted(entry), source.text))
    files = tuple(FileEntry(one.path, one.size_bytes, bucket.sha256_of(one)) for one in chosen)
    without: Sequence[str] = [one.path for one in files if not one.sha256]
    if without:
        raise SyncError(
            f"{source.text}: S3 keeps no sha256 of {without[0]}; upload it with `--checksum-algorithm SHA256`, in one part"
        )
    return Manifest(str(entry["name"]), "", source.text, files).digest


def wanted(entry: Entry) -> Wanted:
    """Which files of its source an entry selects."""
    kind = str(entry.get("quantization") or "") if entry.get("engine") == "llamacpp" else ""
    return Wanted(
        tuple(entry.get("include") or ()), tuple(entry.get("exclude") or ()), kind, bool(entry.get("allow_pickle"))
    )


def _key(entry: Entry) -> tuple[str, str]:
    return str(entry.get("source")), str(entry.get("revision") or "")
