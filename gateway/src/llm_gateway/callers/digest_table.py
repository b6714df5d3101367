# SPDX-License-Identifier: Apache-2.0
"""A dictionary by SHA-256 whose answers can be sent for before they are needed.

One of 100 000 keys is in none of the processor's caches. A `dict` of them is waited for three times in a row (its index, its entry, the digest
to compare), and then its value. The compiled table has all of an entry in one line of the cache, and can ask the memory for that line, and then
for the objects it leads to, while a request's head is still being read. This one in Python does the same without any hurry.
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
        """Keep `value`, and up to three objects that whoever gets it needs next. Raises ValueError for anything but a digest."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest is 32 bytes")
        self._values[digest] = value

    def get(self, digest: bytes) -> Any:
        """The value; None for an unknown digest."""
        return self._values.get(digest)

    def prefetch_slot(self, digest: bytes) -> None:
        """This digest is going to be asked for."""

    def prefetch_value(self, digest: bytes) -> None:
        """The same, some time after `prefetch_slot`: now for the value and what is beside it."""

    def clear(self) -> None:
        """Forget all of them."""
        self._values.clear()


try:
    from llm_gateway.callers._digest_table import DigestTable
except ImportError:
    DigestTable = PureDigestTable  # type: ignore[assignment,misc]

__all__ = ["DIGEST_BYTES", "DigestTable", "PureDigestTable"]
