# SPDX-License-Identifier: Apache-2.0
"""Replies of `/v1/chat/completions` (and `/v1/completions`), whole or in pieces, as other languages need to see them.

Engines differ in what they write: null, a number as text or float, a list of parts for a text. Only what is used is looked at, and what is
of no kind that can be meant counts as absent: no odd field may lose an answer that OpenAI's own clients would have taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llm_gateway.protocols import UntranslatableReply, openai, reading
from llm_gateway.protocols.reading import number, record, records, text
from llm_gateway.protocols.sse import DONE, EventReader


@dataclass(slots=True)
class ToolCall:
    """A tool call, or a piece of one. What a piece does not say is None or empty."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Message:
    """A message, or a piece of one."""

    words: str = ""  # what the model said, or why it would not
    thoughts: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(
        default_factory=list
    )  # of the words, token by token, as the engine says them


@dataclass(slots=True)
class Finish:
    """Why an answer ended. `reason` is empty while it goes on."""

    reason: str = ""
    sequence: str = ""  # the stop sequence that it came to


@dataclass(slots=True)
class Usage:
    """Tokens: of the prompt, of it those computed before, of the answer, of it those of thought."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class Reply:
    """A whole chat completion: its first answer."""

    id: str
    created: int
    message: Message
    finish: Finish
    usage: Usage


def read(body: bytes) -> Reply:
    """A whole reply. Raises UntranslatableReply; ApiError for an error that came with status 200."""
    found = reading.loose(body)
    _refuse(found)
    for choice in records(found.get("choices")):
        if isinstance(choice.get("message"), dict) or isinstance(choice.get("text"), str):
            usage = _usage(found.get("usage")) or Usage()
            message = _message(choice.get("message") or {"content": choice["text"]}, choice.get("logprobs"))
            return Reply(text(found.get("id")), number(found.get("created")) or 0, message, _finish(choice), usage)
    raise UntranslatableReply("the engine's reply has no answer")


def _refuse(found: dict[str, Any]) -> None:
    """Raise ApiError for what is no answer but an error, in the engine's own words."""
    error = found.get("error")
    if found.get("object") == "error":
        error = found  # vLLM's older releases, SGLang
    if not error or not isinstance(error, (dict, str)):
        return
    said = record(error)
    codes = [number(said.get(name)) for name in ("code", "status", "status_code", "http_status_code")]
    status = next((code for code in codes if code is not None and 400 <= code < 600), None)
    kind = text(said.get("type")).lower()
    if status is None:
        status = 400 if "badrequest" in kind or "invalid_request" in kind else 500
    raise openai.from_engine(status, reading.encode({"error": error if said else {"message": error}}))


def _thoughts(given: dict[str, Any]) -> str:
    """What the model thought aloud; engines have several names for it."""
    said = next((found for name in ("reasoning_content", "reasoning") if (found := text(given.get(name)))), "")
    parts = [text(part.get("thinking")) for part in records(given.get("content")) if part.get("type") == "thinking"]
    return said + "".join(parts)


def _calls(given: dict[str, Any]) -> list[ToolCall]:
    found = []
    for call in records(given.get("tool_calls")) or records([given.get("function_call")]):
        function = record(call.get("function")) or (call if "function" not in call else {})
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some engines send the object itself
            arguments = reading.encode(arguments).decode()
        call_id = call.get("id")
        found.append(
            ToolCall(
                number(call.get("index")),
                text(call_id) or (str(call_id) if isinstance(call_id, int) and call_id is not True else ""),
                text(function.get("name")),
                text(arguments),
            )
        )
    return found


def _message(given: dict[str, Any], logprobs: Any) -> Message:
    words = text(given.get("content")) or text(given.get("refusal"))
    return Message(words, _thoughts(given), _calls(given), records(record(logprobs).get("content")))


def _finish(choice: dict[str, Any]) -> Finish:
    # vLLM names the sequence in `stop_reason`, SGLang in `matched_stop`; both may hold the number of a token.
    sequences = [choice[name] for name in ("stop_reason", "matched_stop") if isinstance(choice.get(name), str)]
    reason = choice.get("finish_reason")
    return Finish(reason if isinstance(reason, str) else "", sequences[0] if sequences else "")


def _usage(given: Any) -> Usage | None:
    said = record(given)
    prompt, completion = number(said.get("prompt_tokens")), number(said.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    cached = number(record(said.get("prompt_tokens_details")).get("cached_tokens"))
    thought = number(record(said.get("completion_tokens_details")).get("reasoning_tokens"))
    return Usage(prompt or 0, cached or 0, completion or 0, thought or 0)


@dataclass
class ChatStream:
    """A streamed chat completion: bytes in, pieces of its first message out, and what is known of the whole so far."""

    id: str = ""
    created: int = 0
    usage: Usage = field(default_factory=Usage)
    finish: Finish = field(default_factory=Finish)
    done: bool = False
    _events: EventReader = field(default_factory=EventReader)

    def feed(self, data: bytes) -> Iterator[Message]:
        """The pieces of the message in these bytes, one by one as the stream comes to them. Raises as `read`."""
        for event in self._events.feed(data):
            yield from self._chunk(event)

    def end(self) -> Iterator[Message]:
        """What the stream's end leaves to be said. Raises UntranslatableReply where it broke off: an answer cut short must not look whole."""
        for event in self._events.end():
            try:
                yield from self._chunk(event)
            except UntranslatableReply:
                break
        if not self.finish.reason and not self.done:
            raise UntranslatableReply("the engine's stream ended before its answer did")

    def _chunk(self, event: bytes) -> Iterator[Message]:
        event = event.strip()
        if event == DONE:
            self.done = True
        if event == DONE or not event:
            return
        chunk = reading.loose(event)
        _refuse(chunk)
        self.id = self.id or text(chunk.get("id"))
        self.created = self.created or number(chunk.get("created")) or 0
        self.usage = _usage(chunk.get("usage")) or self.usage
        for choice in records(chunk.get("choices")):
            if number(choice.get("index")):
                continue  # another answer
            finish = _finish(choice)
            if finish.reason:
                self.finish = finish
            # Some engines end a stream with the whole message; its text has been said.
            delta = choice.get("delta") or {"content": choice.get("text")}
            if isinstance(delta, dict):
                yield _message(delta, choice.get("logprobs"))


def as_stream(body: bytes) -> bytes:
    """A whole chat completion as the stream that was asked for, for engines that answer a stream with JSON. Raises as `read`."""
    found = reading.loose(body)
    _refuse(found)
    choices = records(found.get("choices"))
    if not choices:
        raise UntranslatableReply("the engine's reply has no answer")
    head = {name: found[name] for name in ("id", "created", "model") if name in found}
    said = [{("delta" if name == "message" else name): value for name, value in choice.items()} for choice in choices]
    for choice in said:
        calls = record(choice.get("delta")).get("tool_calls")
        for place, call in enumerate(records(calls)):
            call.setdefault("index", place)
    events = [head | {"choices": said}, head | {"choices": [], "usage": found.get("usage")}]
    return b"".join(b"data: %b\n\n" % reading.encode(each) for each in events) + b"data: [DONE]\n\n"
