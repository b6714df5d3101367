# SPDX-License-Identifier: Apache-2.0
"""A stream from an engine to a client: translated where needed, counted, and remembered as far as a continuation needs it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llm_gateway.data_path.usage import hidden
from llm_gateway.protocols import Translation, openai

if TYPE_CHECKING:
    from llm_gateway.data_path.resume import Transcript
    from llm_gateway.telemetry.instruments import Histogram

# Of an event that is longer than the first (a picture, log probabilities), so much of its end is kept: usage stands there.
KEPT_EVENT_BYTES: Final = 64 << 10
KEPT_END_BYTES: Final = 4 << 10


class Relay:
    """One stream. Engine's words → OpenAI's (counted here) → the transcript → the client's words.

    `plain` streams go on byte by byte. `hide_usage`: the client did not ask for usage, the gateway did; events then go on whole. `usage` is
    (prompt tokens, completion tokens) as far as the engine has told them; `events` is how many events there were. The bytes may be cut
    anywhere. Methods raise UntranslatableReply, and ApiError where the engine's stream is an error.
    """

    __slots__ = (
        "_held",
        "_rest",
        "events",
        "from_engine",
        "gaps",
        "hide_usage",
        "plain",
        "tail",
        "to_client",
        "transcript",
        "usage",
    )

    def __init__(
        self,
        from_engine: Translation | None,
        transcript: Transcript | None,
        to_client: Translation | None,
        *,
        hide_usage: bool = False,
    ) -> None:
        self.to_client = to_client
        self.transcript = transcript
        self.from_engine = from_engine
        self.hide_usage = hide_usage
        self.plain = from_engine is None and transcript is None and to_client is None
        self.usage: tuple[int, int] | None = None
        self.events = 0
        self.tail = b""  # the last piece, in OpenAI's words
        self.gaps: Histogram | None = None  # times between pieces
        self._rest = b""  # of an event that has not ended: what `note` needs of it
        self._held = b""  # the same, as far as it waits to go on

    def continued(self, from_engine: Translation | None) -> None:
        """Another engine goes on with the stream."""
        self.from_engine = from_engine
        self.plain = from_engine is None and self.transcript is None and self.to_client is None
        self._rest = self._held = b""

    def as_it_came(self, data: bytes) -> bool:
        """Note a piece of a plain stream. True: it can go on as it came, whole events without anything to hide."""
        if self.hide_usage and (self._held or not data.endswith(b"\n\n") or b'"usage"' in data):
            return False
        self.note(data)
        return True

    def piece(self, data: bytes) -> bytes:
        """What the client gets for a piece of the engine's."""
        if self.from_engine is not None:
            data = self.from_engine.piece(data)
        return self._onwards(data) if data else data

    def end(self) -> bytes:
        """What the client gets after the engine's last piece."""
        rest = b""
        if self.from_engine is not None:
            rest = self.from_engine.end()
        if rest:
            self.note(rest)
        if self.hide_usage:
            rest, self._held = hidden(self._held + rest), b""
        if self.transcript is not None:
            rest = self.transcript.end(rest)
        if self.to_client is not None:
            rest = (self.to_client.piece(rest) if rest else b"") + self.to_client.end()
        return rest

    def _onwards(self, data: bytes) -> bytes:
        self.note(data)
        if self.hide_usage:
            data = self._without_usage(data)
        if data and self.transcript is not None:
            data = self.transcript.piece(data)
        if data and self.to_client is not None:
            data = self.to_client.piece(data)
        return data

    def _without_usage(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
        end = events_end(data)
        self._held = data[end:]
        whole = data[:end] if self._held else data
        return hidden(whole) if b'"usage"' in whole else whole

    def note(self, data: bytes) -> None:
        """Count the events that end in a piece in OpenAI's words, and read the usage in them."""
        self.tail = data
        if self._rest:
            data = self._rest + data
        # A stream has line ends of one kind.
        if data.endswith(b"\n\n"):
            self._rest = b""
        else:
            end = events_end(data)
            rest = data[end:]
            self._rest = rest if len(rest) <= KEPT_EVENT_BYTES else rest[-KEPT_END_BYTES:]
            data = data[:end]
        events = data.count(b"\n\n")
        if not events and b"\r" in data:
            events = data.count(b"\r\n\r\n") or data.count(b"\r\r")
        self.events += events
        if b'"usage"' in data:
            self.usage = openai.usage_in(data) or self.usage

    @property
    def mid_event(self) -> bool:
        """Whether the client has got the beginning of an event only."""
        return bool(self._rest) and not self.hide_usage and self.transcript is None and self.to_client is None


def events_end(data: bytes) -> int:
    """Where the last whole event in `data` ends; 0: none does."""
    end = data.rfind(b"\n\n")
    if end >= 0:
        return end + 2
    if b"\r" not in data:
        return 0
    end = data.rfind(b"\r\n\r\n")
    if end >= 0:
        return end + 4
    end = data.rfind(b"\r\r")
    return end + 2 if end >= 0 else 0
