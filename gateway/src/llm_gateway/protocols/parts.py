# SPDX-License-Identifier: Apache-2.0
"""The parts of an answer (thoughts, words, tool calls), put in order out of the pieces in which engines stream them.

Other languages say one part after the other, and a tool call begins with its name. Engines need not: calls come interleaved, with their name
after their id, all with the index 0 (Ollama) or with none (Gemini's like). So one part is told as it grows, and what belongs to a later one waits
until that one is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_gateway.errors import UNREADABLE
from llm_gateway.protocols import UntranslatableReply
from llm_gateway.protocols.chat import Message, ToolCall

THOUGHTS, WORDS, CALL = "thoughts", "words", "call"


@dataclass(slots=True, eq=False)
class Part:
    """A part of an answer. `id`, `name` and `index` are a tool call's."""

    kind: str
    id: str = ""
    name: str = ""
    index: int | None = None
    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    _told: int = 0
    _begun: bool = False
    _checked: int = -1
    _whole: bool = False

    @property
    def text(self) -> str:
        """All of it, so far: words, thoughts, or a call's arguments."""
        return "".join(self.pieces)

    def whole(self) -> bool:
        """Whether nothing can follow: words end when something else begins, a call when its arguments are JSON."""
        if self.kind != CALL:
            return True
        if self._checked != len(self.pieces):
            self._checked = len(self.pieces)
            self._whole = _is_json(self.text)
        return self._whole


def _is_json(text: str) -> bool:
    if not text.rstrip().endswith(("}", "]", '"')):
        return False
    try:
        msgspec.json.decode(text.encode())
    except UNREADABLE:
        return False
    except UnicodeEncodeError:
        return False
    return True


@dataclass(slots=True)
class Piece:
    """What is new of a part; the part before it is over. The first piece of a part may be empty."""

    part: Part
    text: str
    logprobs: list[dict[str, Any]]


class Parts:
    """Pieces of a message in, pieces of parts out, one part after the other."""

    __slots__ = ("_live", "_parts")

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._live = 0  # the part that is being told

    @property
    def calls(self) -> int:
        """How many tool calls there are."""
        return sum(part.kind == CALL for part in self._parts)

    def take(self, message: Message) -> Iterator[Piece]:
        """What can be told now. Raises UntranslatableReply."""
        if message.thoughts:
            self._text(THOUGHTS, message.thoughts, [])
        if message.words:
            self._text(WORDS, message.words, message.logprobs)
        elif message.logprobs and self._parts and self._parts[-1].kind == WORDS:
            self._text(WORDS, "", message.logprobs)  # a token that is only half a character
        for call in message.calls:
            self._call(call)
        return self._tell(last=False)

    def end(self) -> Iterator[Piece]:
        """What is left."""
        return self._tell(last=True)

    def _text(self, kind: str, text: str, logprobs: list[dict[str, Any]]) -> None:
        if not self._parts or self._parts[-1].kind != kind:
            self._parts.append(Part(kind))
        part = self._parts[-1]
        part.pieces.append(text)
        part.logprobs += logprobs

    def _call(self, call: ToolCall) -> None:
        part = self._known(call)
        if part is None:
            part = Part(CALL, call.id, call.name, call.index)
            self._parts.append(part)
        part.id = part.id or call.id
        part.name = part.name or call.name
        if not call.arguments:
            return
        if self._parts.index(part) < self._live:
            if call.arguments.strip():
                raise UntranslatableReply("the engine returns to a tool call that was whole")
            return
        part.pieces.append(call.arguments)

    def _known(self, call: ToolCall) -> Part | None:
        """The call that this is a piece of; None: a new one."""
        calls = [part for part in reversed(self._parts) if part.kind == CALL]
        same = [part for part in calls if call.index is None or part.index in (call.index, None)]
        for part in same:
            if call.id and part.id == call.id:
                return part
        if not same or (call.id and same[0].id):
            return None
        # No id tells them apart: a name after whole arguments begins another call.
        last = same[0]
        return None if call.name and last.name and last.whole() else last

    def _tell(self, *, last: bool) -> Iterator[Piece]:
        while self._live < len(self._parts):
            part = self._parts[self._live]
            ready = part.kind != CALL or part.name or (last and part.pieces)
            if ready and (not part._begun or part._told < len(part.pieces)):
                part._begun = True
                text, part._told = "".join(part.pieces[part._told :]), len(part.pieces)
                logprobs, part.logprobs = part.logprobs, []
                yield Piece(part, text, logprobs)
            another = self._live + 1 < len(self._parts)
            if not last and not (another and part.whole() and ready):
                return
            self._live += 1
