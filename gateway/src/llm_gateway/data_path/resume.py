# SPDX-License-Identifier: Apache-2.0
"""Going on with a stream that broke off: what the client has got so far, and the request that asks another engine for the rest. No I/O.

Completions are continued by prompt + text. Chats are continued by vLLM's way (an assistant's message that the engine is to go on with:
`continue_final_message`, without a new generation prompt). What cannot be continued truly is not continued: several choices, tools, log
probabilities, structured output, prompts that are token ids.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import UNREADABLE

_DECODE = msgspec.json.Decoder().decode
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_NOT_CONTINUED = (
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "response_format",
    "best_of",
    "echo",
    "suffix",
    "guided_json",
    "structured_outputs",
)
# A transcript longer than this is not kept: the stream then cannot be continued.
MAX_TEXT_BYTES = 1 << 20


def transcript_of(path: bytes, body: bytes) -> Transcript | None:
    """A transcript for this request, or None if a reply to it could not be continued."""
    if path not in (b"/v1/chat/completions", b"/v1/completions"):
        return None
    try:
        asked = _DECODE(body)
    except UNREADABLE:
        return None
    if (
        not isinstance(asked, dict)
        or asked.get("n") not in (None, 1)
        or any(asked.get(name) for name in _NOT_CONTINUED)
    ):
        return None
    chat = path == b"/v1/chat/completions"
    if chat:
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            return None
        if messages[-1].get("role") == "assistant":
            return None
    elif not isinstance(asked.get("prompt"), str):
        return None
    return Transcript(chat=chat)


class Transcript:
    """The text a client has got. `piece` takes a stream's bytes and gives on whole events only: what is on its way when an engine breaks
    off must not be half sent."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._text: list[str] = []
        self._size = 0
        self._tokens = 0
        self._rest = b""
        self._id: str | None = None
        self._finished = False
        self._continued = False
        self._lost = False

    def piece(self, data: bytes) -> bytes:
        """The next bytes for the client."""
        data = self._rest + data
        found: list[bytes] = []
        start = 0
        for end in _EVENT_END.finditer(data):
            found.append(self._event(data[start : end.end()]))
            start = end.end()
        self._rest = data[start:]
        return b"".join(found)

    def end(self, data: bytes) -> bytes:
        """The last bytes for the client."""
        found = self.piece(data) + self._rest
        self._rest = b""
        return found

    def _event(self, whole: bytes) -> bytes:
        if not whole.startswith(b"data:"):
            return whole
        content = whole[5:].strip()
        if content == b"[DONE]":
            return whole
        try:
            chunk = _DECODE(content)
            choice = chunk["choices"][0] if chunk["choices"] else {}
            delta = (choice.get("delta") or {}) if self._chat else choice
            text = delta.get("content" if self._chat else "text")
        except (*UNREADABLE, KeyError, TypeError, AttributeError):
            self._lost = True
            return whole
        changed = False
        if self._id is None:
            self._id = chunk.get("id")
        elif self._continued and chunk.get("id") != self._id:
            # To the client it is one answer.
            chunk["id"] = self._id
            changed = True
        if self._continued and self._chat and "role" in delta and not text:
            return b""  # the second engine introduces itself; the client knows the assistant already
        if isinstance(text, str) and text:
            self._size += len(text)
            self._tokens += 1
            if self._size <= MAX_TEXT_BYTES:
                self._text.append(text)
            else:
                self._lost = True
        if delta.get("tool_calls") or delta.get("reasoning_content"):
            self._lost = True
        if choice.get("finish_reason"):
            self._finished = True
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n" if changed else whole

    def continued(self, body: bytes) -> bytes | None:
        """The request for the rest; `body` is the first one. None: the rest cannot be asked for, or there is none."""
        if self._lost or self._finished:
            return None
        try:
            asked: dict[str, Any] = _DECODE(body)
        except UNREADABLE:
            return None
        text = "".join(self._text)
        self._text = [] if not self._chat else self._text
        self._rest = b""
        self._continued = True
        for name in ("max_tokens", "max_completion_tokens"):
            limit = asked.get(name)
            if isinstance(limit, int):
                if limit <= self._new_tokens():
                    return None
                asked[name] = limit - self._new_tokens()
        self._counted = self._tokens
        if not text:
            return msgspec.json.encode(asked)
        if not self._chat:
            asked["prompt"] += text
            return msgspec.json.encode(asked)
        messages = asked["messages"]
        if asked.get("continue_final_message"):
            messages = messages[:-1]
        asked["messages"] = [*messages, {"role": "assistant", "content": text}]
        asked["continue_final_message"] = True
        asked["add_generation_prompt"] = False
        return msgspec.json.encode(asked)

    _counted = 0

    def _new_tokens(self) -> int:
        """Tokens since the request was last turned into a continuation."""
        return self._tokens - self._counted
