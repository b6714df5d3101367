# SPDX-License-Identifier: Apache-2.0
"""A transport that takes everything and goes nowhere."""

from __future__ import annotations

from collections.abc import Sequence


class Transport:
    """A connection that knows whether it stands, and what was sent."""

    def __init__(self) -> None:
        self.closed = False
        self.sent = b""

    def set_write_buffer_limits(self, **__: int) -> None:
        return

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, pieces: Sequence[bytes]) -> None:
        self.sent += b"".join(pieces)

    def abort(self) -> None:
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.closed
