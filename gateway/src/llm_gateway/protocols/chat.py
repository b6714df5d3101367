# SPDX-License-Identifier: Apache-2.0
"""Replies of `/v1/chat/completions`, whole or in pieces, as other languages need to see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from llm_gateway.protocols import UntranslatableReply, reading
from llm_gateway.protocols.sse import DONE, EventReader


class Function(msgspec.Struct):
    """A function call, or a piece of one."""

    name: str | None = None
    arguments: str | dict[str, object] | None = None

    def text(self) -> str:
        """The arguments as JSON text; some engines send the object itself."""
        if self.arguments is None or isinstance(self.arguments, str):
            return self.arguments or ""
        return reading.encode(self.arguments).decode()


class ToolCall(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Message(msgspec.Struct):
    """A message, or a piece of one. Engines name a model's thoughts in two ways."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thoughts(self) -> str:
        """What the model thought aloud."""
        return self.reasoning_content or self.reasoning or ""

    @property
    def words(self) -> str:
        """What the model said, or why it would not."""
        return self.content or self.refusal or ""


class Choice(msgspec.Struct):
    """One of the answers (only the first one is translated)."""

    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class PromptDetails(msgspec.Struct):
    """What the prompt's tokens were."""

    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    """What the answer's tokens were."""

    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    @property
    def cached(self) -> int:
        """Prompt tokens that the engine had computed before."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0

    @property
    def reasoning(self) -> int:
        """Tokens of thought."""
        return (self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens) or 0


class Reply(msgspec.Struct):
    """A chat completion, or a chunk of one."""

    id: str = ""
    created: int = 0
    choices: list[Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_REPLY = msgspec.json.Decoder(Reply)


def read(body: bytes) -> tuple[Reply, Choice]:
    """A whole reply and its first choice. Raises UntranslatableReply."""
    found = reading.reply(body, _REPLY)
    if not found.choices or found.choices[0].message is None:
        raise UntranslatableReply("the engine's reply has no message")
    return found, found.choices[0]


@dataclass
class ChatStream:
    """A streamed chat completion: bytes in, chunks out, and what is known of the whole so far."""

    id: str = ""
    created: int = 0
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    done: bool = False
    _events: EventReader = field(default_factory=EventReader)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The pieces of the message in these bytes, one by one as the stream comes to them. Raises UntranslatableReply."""
        for event in self._events.feed(data):
            if event.strip() == DONE:
                self.done = True
                continue
            chunk = reading.reply(event, _REPLY)
            if len(chunk.error) and bytes(chunk.error) != b"null":
                raise UntranslatableReply("the engine reports an error in its stream")
            self.id = self.id or chunk.id
            self.created = self.created or chunk.created
            if chunk.usage is not None:
                self.usage = chunk.usage
            for choice in chunk.choices:
                if choice.index != 0:
                    continue
                if choice.finish_reason:
                    self.finish_reason = choice.finish_reason
                    self.stop_reason = choice.stop_reason
                if choice.delta is not None:
                    yield choice.delta
