# SPDX-License-Identifier: Apache-2.0
"""A stream from an engine to a client: translated where needed, counted, and remembered as far as a continuation needs it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.protocols import Translation, openai

if TYPE_CHECKING:
    from llm_gateway.data_path.resume import Transcript
    from llm_gateway.telemetry.instruments import Histogram


class Relay:
    """One stream. Engine's words → OpenAI's (counted here) → the transcript → the client's words.

    `plain` streams go on byte by byte. `usage` is (prompt tokens, completion tokens) as far as the engine has told them; `events` is how many
    events there were. Methods raise UntranslatableReply, and ApiError where the engine's stream is an error.
    """

    __slots__ = ("_last_newline", "events", "from_engine", "gaps", "plain", "tail", "to_client", "transcript", "usage")

    def __init__(
        self, from_engine: Translation | None, transcript: Transcript | None, to_client: Translation | None
    ) -> None:
        self.to_client = to_client
        self.transcript = transcript
        self.from_engine = from_engine
        self.plain = from_engine is None and transcript is None and to_client is None
        self.usage: tuple[int, int] | None = None
        self.events = 0
        self.tail = b""  # the last piece, in OpenAI's words
        self.gaps: Histogram | None = None  # times between pieces
        self._last_newline = False

    def continued(self, from_engine: Translation | None) -> None:
        """Another engine goes on with the stream."""
        self.from_engine = from_engine
        self.plain = from_engine is None and self.transcript is None and self.to_client is None

    def piece(self, data: bytes) -> bytes:
        """What the client gets for a piece of the engine's."""
        if self.plain:
            self.note(data)
            return data
        if self.from_engine is not None:
            data = self.from_engine.piece(data)
        if data:
            self.note(data)
            if self.transcript is not None:
                data = self.transcript.piece(data)
            if self.to_client is not None:
                data = self.to_client.piece(data)
        return data

    def end(self) -> bytes:
        """What the client gets after the engine's last piece."""
        rest = b""
        if self.from_engine is not None:
            rest = self.from_engine.end()
            self.note(rest)
        if self.transcript is not None:
            rest = self.transcript.end(rest)
        if self.to_client is not None:
            rest = (self.to_client.piece(rest) if rest else b"") + self.to_client.end()
        return rest

    def note(self, data: bytes) -> None:
        """Count the events of a piece in OpenAI's words, and keep what may tell the usage."""
        # A stream has line ends of one kind.
        events = data.count(b"\n\n") or data.count(b"\r\n\r\n")
        if self._last_newline and data.startswith(b"\n"):
            events += 1
        self.events += events
        self._last_newline = data.endswith(b"\n")
        if b'"usage"' in data:
            self.usage = openai.usage_in(data) or self.usage
        self.tail = data

    @property
    def mid_event(self) -> bool:
        """Whether the client has got the beginning of an event only."""
        return self.to_client is None and not self.tail.endswith((b"\n\n", b"\r\n\r\n"))
