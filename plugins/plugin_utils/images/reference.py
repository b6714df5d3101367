# SPDX-License-Identifier: Apache-2.0
"""References of images, as container tools read them: https://github.com/distribution/reference."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...module_utils.errors import LlmOnEksError

_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")


class ReferenceError(LlmOnEksError):
    """A text that names no image."""


@dataclass(frozen=True)
class Reference:
    """`registry`: where it is asked for; `text`: as it was written. Without tag and digest the tag is `latest`."""

    registry: str
    repository: str
    tag: str
    digest: str
    text: str

    @property
    def asked(self) -> str:
        """The digest, otherwise the tag."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> str:
        """The same with this digest, for a pod."""
        return f"{self.text.partition('@')[0]}@{digest}"


def parse(text: str) -> Reference:
    """`python:3.12`, `ghcr.io/a/b@sha256:…`. Raises ReferenceError."""
    name, __, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    is_registry = slash and (first == "localhost" or "." in first or ":" in first)
    registry, path = (first, rest) if is_registry else (_HUB, name)
    repository, __, tag = path.partition(":")
    if registry == _HUB:
        registry = _HUB_HOST
        repository = repository if "/" in repository else f"library/{repository}"
    if not _PART.fullmatch(repository) or (digest and not _DIGEST.fullmatch(digest)):
        raise ReferenceError(f"{text!r} names no image: write REGISTRY/NAME:TAG, or REGISTRY/NAME@sha256:DIGEST")
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest, text)
