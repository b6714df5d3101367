# SPDX-License-Identifier: Apache-2.0
"""Copies an image from one registry to another, by its digest: what arrives is what was locked. Nothing is stored on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from .registry import Manifest, RegistryError

_TRIES = 3


class Store(Protocol):
    """What holds images: a registry, or a folder."""

    def manifest(self, repository: str, reference: str) -> Manifest: ...
    def has_manifest(self, repository: str, digest: str) -> bool: ...
    def has_blob(self, repository: str, digest: str) -> bool: ...
    def blob(self, repository: str, digest: str) -> AbstractContextManager[Iterator[bytes]]: ...
    def put_blob(self, repository: str, digest: str, size: int, chunks: Iterator[bytes]) -> None: ...
    def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None: ...


def copy(
    source: Store,
    repository: str,
    digest: str,
    target: Store,
    target_repository: str,
    tag: str,
    say: Callable[[str], None] = lambda _text: None,
) -> bool:
    """False where it is there already. All platforms of an image are copied, so that the digest stays. Raises RegistryError."""
    if target.has_manifest(target_repository, digest):
        return False
    manifest = source.manifest(repository, digest)
    for child in manifest.children if manifest.is_index else []:
        if not target.has_manifest(target_repository, child):
            _copy_image(source, repository, source.manifest(repository, child), target, target_repository, say)
            target.put_manifest(target_repository, child, source.manifest(repository, child))
    if not manifest.is_index:
        _copy_image(source, repository, manifest, target, target_repository, say)
    target.put_manifest(target_repository, tag, manifest)
    return True


def _copy_image(
    source: Store,
    repository: str,
    manifest: Manifest,
    target: Store,
    target_repository: str,
    say: Callable[[str], None],
) -> None:
    for digest, size in manifest.blobs.items():
        if target.has_blob(target_repository, digest):
            continue
        say(f"{repository}: {digest[:19]}, {size / 1e6:.0f} MB")
        for attempt in range(_TRIES):
            try:
                with source.blob(repository, digest) as chunks:
                    target.put_blob(target_repository, digest, size, chunks)
                break
            except RegistryError:
                if attempt == _TRIES - 1:
                    raise
