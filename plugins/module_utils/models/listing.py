# SPDX-License-Identifier: Apache-2.0
"""The files that there are at a source, and who says what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# A URL, and the headers to ask it with. Asked again for every part: what is signed runs out.
Address = Callable[[], tuple[str, Mapping[str, str]]]


@dataclass(frozen=True)
class RemoteFile:
    """`sha256`, `git_sha1`: what the source says, hex, empty where it says nothing; git's is over "blob SIZE\\0" and the bytes."""

    path: str
    size_bytes: int
    address: Address
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Listing:
    """`pinned`: the files' digests or their list are part of the revision, so that nothing else needs to be compared."""

    files: tuple[RemoteFile, ...]
    pinned: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
