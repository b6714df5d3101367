# SPDX-License-Identifier: Apache-2.0
"""Messages that differ from one already understood in the digits of their Content-Length only: no need to parse their heads again."""

from __future__ import annotations


class Template:
    """A head, from its first byte to the empty line's end, without the digits of its one Content-Length."""

    __slots__ = ("after", "before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after

    def fit(self, data: bytes) -> tuple[int, int]:
        """(where the body begins, its length) of a message with this very head; (0, 0) for any other."""
        before = self.before
        if not data.startswith(before):
            return 0, 0
        start = len(before)
        end = data.find(b"\r", start, start + 16)
        digits = data[start:end] if end > start else b""
        # `isdigit` knows ASCII's digits only, where `int` would take blanks, signs and underscores as well.
        if not digits.isdigit() or not data.startswith(self.after, end):
            return 0, 0
        return end + len(self.after), int(digits)
