# SPDX-License-Identifier: Apache-2.0
"""Server-sent events, read as they come (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re

from llm_gateway.protocols import UntranslatableReply

# An event that does not end within this is none; engines send some hundred bytes a token, whole tool calls at most some hundred kB.
MAX_EVENT_BYTES = 4 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventReader:
    """Bytes in, cut anywhere; the data of each whole event out. Comments, names, ids and empty events are passed over."""

    __slots__ = ("_data", "_rest", "_size", "_started")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece. Raises UntranslatableReply for one without end."""
        data = self._rest + piece if self._rest else piece
        if not self._started:
            if _BOM.startswith(data) and data != _BOM:
                self._rest = data  # it may yet become one
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        found: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(data):
            # A CR at the very end may be half of a CRLF.
            if end.end() == len(data) and data.endswith(b"\r"):
                break
            self._line(data[start : end.start()], found)
            start = end.end()
        self._rest = data[start:]
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise UntranslatableReply("an event of the engine's stream has no end")
        return found

    def _line(self, line: bytes, found: list[bytes]) -> None:
        if not line:
            if self._data:
                found.append(b"\n".join(self._data))
                self._data = []
                self._size = 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value)
            if self._size > MAX_EVENT_BYTES:
                raise UntranslatableReply("an event of the engine's stream has no end")


def event(data: bytes, name: bytes = b"") -> bytes:
    """One event. `data` is JSON, which has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
