# SPDX-License-Identifier: Apache-2.0
"""Ids for requests that come without one."""

from __future__ import annotations

import os
from typing import Final

# How ids end: writing a number costs more than looking it up.
_ENDS: Final = [b"%02x" % number for number in range(256)]


class RequestIds:
    """Ids that no other request has: a random part for each worker, and a count."""

    __slots__ = ("_count", "_start", "_worker")

    def __init__(self) -> None:
        self._worker = os.urandom(6).hex().encode()
        self._start = b""
        self._count = 0

    def new(self) -> bytes:
        """The next one."""
        place = self._count & 0xFF
        if place == 0:
            self._start = b"%b-%x" % (self._worker, self._count >> 8)
        self._count += 1
        return self._start + _ENDS[place]
