# SPDX-License-Identifier: Apache-2.0
"""The files of a source, and where their digests come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# A URL and its request headers. Computed again for every part: signatures expire.
Address = Callable[[], tuple[str, Mapping[str, str]]]


@dataclass(frozen=True)
class RemoteFile:
    """`sha256`, `git_sha1`: digests that the source publishes, hex, empty where it has none; git's is over "blob SIZE\0" and the
    bytes.
    """

    path: str
    size_bytes: int
    address: Address
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Listing:
    """`pinned`: the revision contains the files' digests or their list, so that nothing else needs to be compared."""

    files: tuple[RemoteFile, ...]
    pinned: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
