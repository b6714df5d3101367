# SPDX-License-Identifier: Apache-2.0
"""Replies to `/v1/responses`, out of what engines say to a chat completion."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import ApiError
from llm_gateway.protocols import Plain, chat
from llm_gateway.protocols.parts import THOUGHTS, WORDS, Part, Parts, Piece
from llm_gateway.protocols.reading import encode
from llm_gateway.protocols.responses.request import Request, chat_request
from llm_gateway.protocols.responses.tools import Known, Tools, call_item
from llm_gateway.protocols.second_words import REFUSALS, without_hints
from llm_gateway.protocols.sse import event

_ID = re.compile(r"[^A-Za-z0-9_-]")
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _text_part(text: str, logprobs: list[dict[str, Any]] | None) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    return part if logprobs is None else part | {"logprobs": logprobs}


def _reasoning(number: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": f"rs_{number}", "summary": [], "content": content, "status": status}


def _message(number: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"type": "message", "id": f"msg_{number}", "status": status, "role": "assistant", "content": content}


class Responses(Plain):
    """One request to `/v1/responses`."""

    __slots__ = (
        "_asked",
        "_item",
        "_known",
        "_logprobs",
        "_number",
        "_open",
        "_output",
        "_parts",
        "_sequence",
        "_started",
        "_stream",
        "_text",
        "body",
        "left_out",
    )

    path = b"/v1/chat/completions"
    content_type = b"text/event-stream; charset=utf-8"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request, passed: dict[str, Any]) -> None:
        tools = Tools()
        self.body = encode(chat_request(asked, passed, tools))
        self.left_out = tuple(tools.left_out)
        self._known = tools.known
        # The answer tells settings, never the conversation: let go of it.
        asked.input = ""
        self._asked = asked
        self._stream = chat.ChatStream()
        self._parts = Parts()
        self._started = False
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: Part | None = None
        self._item: dict[str, Any] = {}
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._number = ""

    def again(self, status: int, body: bytes) -> bytes | None:
        """See Translation."""
        said: dict[str, Any] = msgspec.json.decode(self.body)
        if status not in REFUSALS or not without_hints(said, body.decode("utf-8", "replace")):
            return None
        self.body = encode(said)
        return self.body

    # --- whole

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found = chat.read(body)
        self._name(found.id)
        for piece in (*self._parts.take(found.message), *self._parts.end()):
            self._logprobs = piece.logprobs
            self._output.append(self._finished(piece.part, piece.part.text))
        if not self._output or self._output[-1]["type"] == "reasoning":
            self._output.append(self._finished(Part(WORDS), ""))
        return encode(self._response(found.created, found.finish, found.usage))

    def _name(self, engine_id: str) -> None:
        self._number = _ID.sub("", engine_id.removeprefix("chatcmpl-"))

    def _response(self, created: int, finish: chat.Finish | None, usage: chat.Usage | None) -> dict[str, Any]:
        """The response object; `finish` is None while it goes on."""
        asked = self._asked
        cut = _INCOMPLETE.get(finish.reason) if finish is not None else None
        return {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": created,
            "status": "in_progress" if finish is None else "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": cut} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": asked.model,
            "output": self._output if finish is not None else [],
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": asked.reasoning.effort if asked.reasoning else None, "summary": None},
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"}} if asked.text is None else asked.text,
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_logprobs": asked.top_logprobs,
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": _usage(usage) if usage is not None else None,
            "user": asked.user,
            "metadata": asked.metadata or {},
        }

    def _item_of(self, part: Part, text: str, status: str) -> dict[str, Any]:
        """The item that a part becomes; while it is told, without content."""
        place = len(self._output)
        whole = status == "completed"
        if part.kind == THOUGHTS:
            content: list[dict[str, Any]] = [{"type": "reasoning_text", "text": text}] if whole else []
            return _reasoning(f"{self._number}_{place}", content, status)
        if part.kind == WORDS:
            content = [self._text_part(text)] if whole else []
            return _message(f"{self._number}_{place}", content, status)
        name = f"{self._number}_{place}"
        known = self._known.get(part.name) or Known(name=part.name)
        return call_item(known, name, part.id or f"call_{name}", text, status)

    def _finished(self, part: Part, text: str) -> dict[str, Any]:
        return self._item_of(part, text, "completed")

    def _text_part(self, text: str) -> dict[str, Any]:
        return _text_part(text, self._logprobs if self._asked.logprobs else None)

    # --- streamed

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
            self._start(out)
            for piece in self._parts.take(message):
                self._say(piece, out)
        self._start(out)
        for piece in self._parts.end():
            self._say(piece, out)
        self._close(out)
        stream = self._stream
        response = self._response(stream.created, stream.finish, stream.usage)
        self._put(out, f"response.{response['status']}", response=response)
        return b"".join(out)

    def _put(self, out: list[bytes], kind: str, **fields: Any) -> None:
        out.append(event(encode({"type": kind, "sequence_number": self._sequence, **fields}), kind.encode()))
        self._sequence += 1

    def _start(self, out: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        self._name(self._stream.id)
        response = self._response(self._stream.created, None, None)
        self._put(out, "response.created", response=response)
        self._put(out, "response.in_progress", response=response)

    def _say(self, piece: Piece, out: list[bytes]) -> None:
        part, text = piece.part, piece.text
        if part is not self._open:
            self._begin(part, out)
        self._text.append(text)
        self._logprobs += piece.logprobs
        if not text and not piece.logprobs:
            return
        where = self._where()
        if part.kind == THOUGHTS:
            self._put(out, "response.reasoning_text.delta", **where, content_index=0, delta=text)
        elif part.kind == WORDS:
            logprobs = piece.logprobs if self._asked.logprobs else []
            self._put(out, "response.output_text.delta", **where, content_index=0, delta=text, logprobs=logprobs)
        elif self._item["type"] == "function_call":
            self._put(out, "response.function_call_arguments.delta", **where, delta=text)

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item["id"], "output_index": len(self._output)}

    def _begin(self, part: Part, out: list[bytes]) -> None:
        self._close(out)
        self._open, self._text, self._logprobs = part, [], []
        self._item = self._item_of(part, "", "in_progress")
        self._put(out, "response.output_item.added", output_index=len(self._output), item=self._item)
        if part.kind == WORDS:
            self._put(out, "response.content_part.added", **self._where(), content_index=0, part=self._text_part(""))

    def _close(self, out: list[bytes]) -> None:
        part, self._open = self._open, None
        if part is None:
            return
        text = "".join(self._text)
        where = self._where()
        item = self._finished(part, text)
        if part.kind == WORDS:
            logprobs = self._logprobs if self._asked.logprobs else []
            self._put(out, "response.output_text.done", **where, content_index=0, text=text, logprobs=logprobs)
            self._put(out, "response.content_part.done", **where, content_index=0, part=self._text_part(text))
        elif part.kind == THOUGHTS:
            self._put(out, "response.reasoning_text.done", **where, content_index=0, text=text)
        elif item["type"] == "function_call":
            self._put(
                out, "response.function_call_arguments.done", **where, name=item["name"], arguments=item["arguments"]
            )
        elif item["type"] == "custom_tool_call":
            # What an engine streams is JSON with the input in it, so it is told when it is whole.
            self._put(out, "response.custom_tool_call_input.delta", **where, delta=item["input"])
            self._put(out, "response.custom_tool_call_input.done", **where, input=item["input"])
        self._put(out, "response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    # --- errors

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error.body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation. OpenAI's clients look for the first event, Codex for the second."""
        out: list[bytes] = []
        self._put(out, "error", code=error.reason, message=error.message, param=error.param)
        failed = self._response(self._stream.created, chat.Finish(), None)
        failed |= {"status": "failed", "error": {"code": error.reason, "message": error.message}}
        self._put(out, "response.failed", response=failed)
        return b"".join(out)


def _usage(usage: chat.Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }
