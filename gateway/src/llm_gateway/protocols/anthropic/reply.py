# SPDX-License-Identifier: Apache-2.0
"""Replies to `/v1/messages` and `/v1/messages/count_tokens`, out of what engines say."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import ApiError
from llm_gateway.protocols import Plain, UntranslatableReply, chat, reading
from llm_gateway.protocols.anthropic.request import CountRequest, Request, chat_messages, chat_request
from llm_gateway.protocols.anthropic.tools import Tools, told_id
from llm_gateway.protocols.context_length import overflow
from llm_gateway.protocols.parts import CALL, THOUGHTS, Part, Parts, Piece
from llm_gateway.protocols.reading import encode, flat_text
from llm_gateway.protocols.second_words import REFUSALS, without_hints
from llm_gateway.protocols.sse import event

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ID = re.compile(r"[^A-Za-z0-9_-]")
# A token is about so many bytes of text, where no engine counts them.
_BYTES_PER_TOKEN = 4
# How often a request is asked again in other words.
_MOST_AGAIN = 3


class _Errors(Plain):
    """Errors in Anthropic's words."""

    __slots__ = ()
    request_id_header = b"request-id"

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return worded(error).anthropic_body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        return event(self.error(error), b"error")


def worded(error: ApiError) -> ApiError:
    """Claude Code shortens a conversation when it reads that the prompt is too long, in these words and no others."""
    found = overflow(error.message) if error.status in (400, 413) else None
    # A prompt that fits is not too long: what was too much is the answer that was asked for.
    if found is None or (found.room is not None and found.room > 0):
        return error
    lengths = f": {found.prompt} tokens > {found.limit} maximum" if found.prompt and found.limit else ""
    return ApiError(error.status, f"prompt is too long{lengths}. {error.message}", code=error.code, param=error.param)


class Messages(_Errors):
    """One request to `/v1/messages`."""

    __slots__ = (
        "_again",
        "_asked",
        "_block",
        "_hide_thoughts",
        "_open",
        "_parts",
        "_started",
        "_stops",
        "_stream",
        "body",
        "left_out",
    )

    path = b"/v1/chat/completions"
    content_type = b"text/event-stream; charset=utf-8"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request, passed: dict[str, Any]) -> None:
        tools = Tools(asked.tools)
        self.body = encode(chat_request(asked, passed, tools))
        self.left_out = tuple(tools.left_out)
        self._asked = asked
        self._stops = frozenset(asked.stop_sequences or ())
        self._hide_thoughts = asked.thinking is not None and asked.thinking.display == "omitted"
        self._stream = chat.ChatStream()
        self._parts = Parts()
        self._started = False
        self._block = -1
        self._open: Part | None = None
        self._again = 0

    def again(self, status: int, body: bytes) -> bytes | None:
        """See Translation. Anthropic's clients ask for more tokens than a context holds; and an engine may not know what we added."""
        self._again += 1
        if status not in REFUSALS or self._again > _MOST_AGAIN:
            return None
        message = body.decode("utf-8", "replace")
        said: dict[str, Any] = msgspec.json.decode(self.body)
        wanted = said["max_tokens"]
        found = overflow(message, wanted)
        if found is not None:
            room = found.room if found.room is not None else (found.limit or 0) // 2
            if room >= wanted and self._again > 1:
                # Engines keep some tokens for themselves, and count a long prompt as "at least" so long.
                room = wanted - wanted // 16 - 1
            if not 0 < room < wanted:
                return None
            said["max_tokens"] = room
        elif not without_hints(said, message):
            return None
        self.body = encode(said)
        return self.body

    def _stop(self, finish: chat.Finish) -> tuple[str, str | None]:
        if finish.sequence in self._stops:
            return "stop_sequence", finish.sequence
        reason = _STOP_REASONS.get(finish.reason or "stop", "end_turn")
        return "tool_use" if self._parts.calls and reason == "end_turn" else reason, None

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = chat.read(body)
        content: list[dict[str, Any]] = []
        parts = [piece.part for piece in (*self._parts.take(found.message), *self._parts.end())]
        for number, part in enumerate(parts):
            if part.kind == CALL:
                content.append(_call(part, found.id, number) | {"input": _arguments(part.text)})
            elif part.kind == THOUGHTS:
                content.append(_thinking("" if self._hide_thoughts else part.text))
            else:
                content.append({"type": "text", "text": part.text})
        if not content or content[-1]["type"] == "thinking":
            content.append({"type": "text", "text": ""})
        reason, sequence = self._stop(found.finish)
        said = self._message(found.id, found.usage)
        return encode(said | {"content": content, "stop_reason": reason, "stop_sequence": sequence})

    def _message(self, engine_id: str, usage: chat.Usage) -> dict[str, Any]:
        return {
            "id": "msg_" + _ID.sub("", engine_id.removeprefix("chatcmpl-"))[:64],
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(usage),
        }

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        for message in self._stream.feed(data):
            self._start(out)
            for piece in self._parts.take(message):
                self._say(piece, out)
        return b"".join(out)

    def end(self) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        for message in self._stream.end():
            for piece in self._parts.take(message):
                self._say(piece, out)
        self._start(out)
        for piece in self._parts.end():
            self._say(piece, out)
        if self._open is None:
            self._begin(Part("words"), out)
        self._close(out)
        reason, sequence = self._stop(self._stream.finish)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        _put(out, {"type": "message_delta", "delta": delta, "usage": _usage(self._stream.usage)})
        _put(out, {"type": "message_stop"})
        return b"".join(out)

    def _start(self, out: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        _put(out, {"type": "message_start", "message": self._message(self._stream.id, self._stream.usage)})
        _put(out, {"type": "ping"})

    def _say(self, piece: Piece, out: list[bytes]) -> None:
        self._start(out)
        part, text = piece.part, piece.text
        if part is not self._open:
            self._begin(part, out)
        if part.kind == CALL:
            delta = {"type": "input_json_delta", "partial_json": text}
        elif part.kind == THOUGHTS:
            text = "" if self._hide_thoughts else text
            delta = {"type": "thinking_delta", "thinking": text}
        else:
            delta = {"type": "text_delta", "text": text}
        if text:
            _put(out, {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _begin(self, part: Part, out: list[bytes]) -> None:
        self._close(out)
        self._block += 1
        self._open = part
        if part.kind == CALL:
            block = _call(part, self._stream.id, self._block)
        else:
            block = _thinking("") if part.kind == THOUGHTS else {"type": "text", "text": ""}
        _put(out, {"type": "content_block_start", "index": self._block, "content_block": block})

    def _close(self, out: list[bytes]) -> None:
        if self._open is not None:
            _put(out, {"type": "content_block_stop", "index": self._block})
            self._open = None


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _call(part: Part, reply_id: str, number: int) -> dict[str, Any]:
    call_id = told_id(part.id) if part.id else f"toolu_{_ID.sub('', reply_id)[:48]}_{number}"
    return {"type": "tool_use", "id": call_id, "name": part.name, "input": {}}


class _Counted(msgspec.Struct):
    """What engines say to `/tokenize`."""

    count: int | None = None
    tokens: list[Any] | None = None


_COUNTED = msgspec.json.Decoder(_Counted)


class TokenCount(_Errors):
    """One request to `/v1/messages/count_tokens`: the engine's own tokenizer counts."""

    __slots__ = ("_estimate", "body")

    path = b"/tokenize"
    content_type = b"application/json"
    comment = b""

    def __init__(self, asked: CountRequest) -> None:
        messages = chat_messages(asked)
        # vLLM reads the messages, llama.cpp the text in `content`.
        said: dict[str, Any] = {"model": asked.model, "messages": messages, "content": flat_text(messages)}
        tools = Tools(asked.tools).functions
        if tools:
            said["tools"] = tools
        self.body = encode(said)
        self._estimate = (len(said["content"].encode()) + (len(encode(tools)) if tools else 0)) // _BYTES_PER_TOKEN + 1

    def instead(self, status: int) -> bytes | None:
        """See Translation. An engine that cannot count leaves an estimate: better than a client that cannot go on."""
        return encode({"input_tokens": self._estimate}) if status in (404, 405, 422, 500, 501) else None

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = reading.reply(body, _COUNTED)
        count = found.count if found.count is not None else len(found.tokens) if found.tokens is not None else None
        if count is None:
            raise UntranslatableReply("the engine's reply has no count of tokens")
        return encode({"input_tokens": count})

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        raise UntranslatableReply("a count of tokens is no stream")

    def end(self) -> bytes:
        """See Translation."""
        return b""


def _put(out: list[bytes], document: dict[str, Any]) -> None:
    out.append(event(encode(document), document["type"].encode()))


def _arguments(text: str) -> Any:
    """A tool's input is an object; a model that wrote none gets its text shown, rather than the whole reply lost."""
    try:
        found = msgspec.json.decode(text.encode()) if text.strip() else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {"arguments": text}
    return found if isinstance(found, dict) else {"arguments": found}


def _usage(usage: chat.Usage) -> dict[str, int]:
    return {
        # Anthropic counts cached tokens apart, OpenAI among the prompt's.
        "input_tokens": max(0, usage.prompt - usage.cached),
        "output_tokens": usage.completion,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
    }
