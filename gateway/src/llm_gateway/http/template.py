# SPDX-License-Identifier: Apache-2.0
"""Messages that differ from one already understood in the digits of their Content-Length only: no need to parse their heads again."""

from __future__ import annotations

from typing import Final

MAX_DIGITS: Final = 15


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
        at = len(before)
        end = min(len(data), at + MAX_DIGITS)
        length = 0
        # Digit by digit: `int` would take blanks, signs and underscores as well, and compiled this is quicker.
        while at < end:
            digit = data[at] - 48
            if digit < 0 or digit > 9:
                break
            length = length * 10 + digit
            at += 1
        after = self.after
        body_at = at + len(after)
        # A slice, as compiled it is quicker than `startswith` from a position on.
        if at == len(before) or data[at:body_at] != after:
            return 0, 0
        return body_at, length
