# SPDX-License-Identifier: Apache-2.0
"""The identity of one traced request (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations


class Span:
    """One traced request: 16 and 8 bytes of identity as hexadecimal digits."""

    __slots__ = ("parent_id", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, parent_id: str) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id

    def header(self) -> bytes:
        """The `traceparent` that the engine gets."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode()
