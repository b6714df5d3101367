# SPDX-License-Identifier: Apache-2.0
"""A folder of images, as container tools read it: https://github.com/opencontainers/image-spec/blob/main/image-layout.md."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ...module_utils.files import write_whole
from .registry import Manifest, RegistryError

_INDEX, _IMAGE = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
_NAME = "org.opencontainers.image.ref.name"
_CHUNK_BYTES = 1 << 20


class Layout:
    """Reads and writes as a registry does, whatever the repository: a blob stands there once for all images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has_manifest(self, repository: str, digest: str) -> bool:
        return self.has_blob(repository, digest)

    def has_blob(self, repository: str, digest: str) -> bool:
        return self._file(digest).is_file()

    def manifest(self, repository: str, reference: str) -> Manifest:
        """`reference`: a digest. Raises RegistryError."""
        with self.blob(repository, reference) as chunks:
            body = b"".join(chunks)
        content = Manifest(body, "").content
        return Manifest(body, str(content.get("mediaType") or (_INDEX if "manifests" in content else _IMAGE)))

    @contextmanager
    def blob(self, repository: str, digest: str) -> Iterator[Iterator[bytes]]:
        """The bytes of a blob, held to its digest: the last chunk raises RegistryError where they are others."""
        try:
            with self._file(digest).open("rb") as stream:
                yield _checked(iter(lambda: stream.read(_CHUNK_BYTES), b""), digest, str(self.folder))
        except FileNotFoundError:
            raise RegistryError(f"{self.folder} has no {digest}; make the bundle again") from None

    def put_blob(self, repository: str, digest: str, size: int, chunks: Iterator[bytes]) -> None:
        """Store a blob; another content than its digest says leaves nothing. Raises RegistryError."""
        file = self._file(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        staging = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
        try:
            with staging.open("wb") as stream:
                for chunk in _checked(chunks, digest, "what arrived"):
                    stream.write(chunk)
            staging.replace(file)
        finally:
            staging.unlink(missing_ok=True)

    def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        write_whole(self._file(manifest.digest), manifest.body)

    def named(self) -> dict[str, str]:
        """reference → digest of the images that the folder was made for."""
        try:
            index = msgspec.json.decode((self.folder / "index.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {str(one["annotations"][_NAME]): str(one["digest"]) for one in index["manifests"]}

    def keep(self, images: dict[str, str]) -> bool:
        """Name these images (reference → digest), and remove what belongs to no image. Whether a file changed."""
        entries = [self._entry(reference, digest) for reference, digest in sorted(images.items())]
        index = msgspec.json.encode({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}\n', "index.json": index}
        changed = [
            name
            for name, content in files.items()
            if not (self.folder / name).is_file() or (self.folder / name).read_bytes() != content
        ]
        for name in changed:
            write_whole(self.folder / name, files[name])
        wanted = {digest for top in images.values() for digest in self._reached(top)}
        stale = [file for file in self.folder.glob("blobs/sha256/*") if f"sha256:{file.name}" not in wanted]
        for file in stale:
            file.unlink()
        return bool(changed or stale)

    def _entry(self, reference: str, digest: str) -> dict[str, Any]:
        manifest = self.manifest("", digest)
        found = {"mediaType": manifest.media_type, "digest": digest, "size": len(manifest.body)}
        return {**found, "annotations": {_NAME: reference}}

    def _reached(self, digest: str) -> Iterator[str]:
        manifest = self.manifest("", digest)
        yield digest
        for child in manifest.children if manifest.is_index else []:
            yield from self._reached(child)
        yield from [] if manifest.is_index else manifest.blobs

    def _file(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _checked(chunks: Iterator[bytes], digest: str, where: str) -> Iterator[bytes]:
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk)
        yield chunk
    if f"sha256:{total.hexdigest()}" != digest:
        raise RegistryError(f"{where}: {digest} has another content than its digest says; fetch it again")
