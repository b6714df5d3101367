# SPDX-License-Identifier: Apache-2.0
"""A dictionary by SHA-256 that can prefetch: it reads an entry from memory before the entry is asked for.

`_digest_table.c` is the table that does so (README, "Memory in no cache"). The class here does the same in plain Python, without prefetching.
"""

from __future__ import annotations

from typing import Any, Final

DIGEST_BYTES: Final = 32


class PureDigestTable:
    """Values by their digests, of 32 bytes each."""

    def __init__(self) -> None:
        self._values: dict[bytes, Any] = {}

    def __len__(self) -> int:
        return len(self._values)

    def put(self, digest: bytes, value: Any, *beside: object) -> None:
        """Keep `value`, and up to three objects that are needed together with it. Raises ValueError for anything but a digest."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest is 32 bytes")
        self._values[digest] = value

    def get(self, digest: bytes) -> Any:
        """The value; None for an unknown digest."""
        return self._values.get(digest)

    def prefetch_slot(self, digest: bytes) -> None:
        """This digest will be asked for soon: read its entry."""

    def prefetch_value(self, digest: bytes) -> None:
        """Some time after `prefetch_slot`: read the value, and the objects kept beside it."""

    def clear(self) -> None:
        """Remove all."""
        self._values.clear()


try:
    from llm_gateway.callers._digest_table import DigestTable
except ImportError:
    DigestTable = PureDigestTable  # type: ignore[assignment,misc]

__all__ = ["DIGEST_BYTES", "DigestTable", "PureDigestTable"]
