# SPDX-License-Identifier: Apache-2.0
"""Server-sent events, read as they come (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re

from llm_gateway.protocols import UntranslatableReply

# An event that does not end within this is none. Engines send some hundred bytes a token; pictures and log probabilities some megabytes.
MAX_EVENT_BYTES = 64 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventReader:
    """Bytes in, cut anywhere; the data of each whole event out. Comments, names, ids and empty events are passed over.

    A field `error`, which llama.cpp's older servers write instead of `data`, is an event with that field.
    """

    __slots__ = ("_data", "_rest", "_rest_size", "_size", "_started")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that end in this piece. Raises UntranslatableReply for one without end."""
        if self._rest:
            if self._started and b"\n" not in piece and b"\r" not in piece and not self._rest[-1].endswith(b"\r"):
                self._keep(piece)
                return []
            piece = b"".join((*self._rest, piece))
            self._rest = []
            self._rest_size = 0
        if not self._started:
            if _BOM.startswith(piece) and piece != _BOM:
                self._keep(piece)  # it may yet become one
                return []
            self._started = True
            piece = piece.removeprefix(_BOM)
        found: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(piece):
            # A CR at the very end may be half of a CRLF.
            if end.end() == len(piece) and piece.endswith(b"\r"):
                break
            self._line(piece[start : end.start()], found)
            start = end.end()
        if start < len(piece):
            self._keep(piece[start:])
        return found

    def end(self) -> list[bytes]:
        """The data of an event that the stream's end left without its blank line."""
        found: list[bytes] = []
        for line in b"".join(self._rest).split(b"\r"):
            self._line(line, found)
        self._line(b"", found)
        self._rest = []
        return found

    def _keep(self, piece: bytes) -> None:
        self._rest.append(piece)
        self._rest_size += len(piece)
        if self._rest_size + self._size > MAX_EVENT_BYTES:
            raise UntranslatableReply("an event of the engine's stream has no end")

    def _line(self, line: bytes, found: list[bytes]) -> None:
        if not line:
            if self._data:
                found.append(b"\n".join(self._data))
                self._data = []
                self._size = 0
            return
        name, __, value = line.partition(b":")
        if name == b"error":
            value = b'{"error":%b}' % value
        elif name != b"data":
            return
        value = value.removeprefix(b" ")
        self._data.append(value)
        self._size += len(value)
        if self._size > MAX_EVENT_BYTES:
            raise UntranslatableReply("an event of the engine's stream has no end")


def event(data: bytes, name: bytes = b"") -> bytes:
    """One event. `data` is JSON, which has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
