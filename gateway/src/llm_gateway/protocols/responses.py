# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses API (https://platform.openai.com/docs/api-reference/responses), said as a chat completion and back.

Nothing is stored: a conversation comes whole with each request (`previous_response_id`, `conversation` and `background` are refused), and
tools are the caller's own functions.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import ApiError, malformed
from llm_gateway.protocols import Translation, UntranslatableReply, reading
from llm_gateway.protocols.chat import ChatStream, Message, Usage, read
from llm_gateway.protocols.reading import cannot, encode
from llm_gateway.protocols.sse import event

_ID = re.compile(r"[^A-Za-z0-9_-]")


class Part(msgspec.Struct):
    """A piece of a message's content."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: str | None = None


class Item(msgspec.Struct):
    """An input item of any type; which fields count depends on it."""

    type: str = "message"
    role: str = ""
    content: str | list[Part] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[Part] = ""


class Tool(msgspec.Struct):
    """A tool."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(msgspec.Struct):
    """The tool that must be used."""

    type: str
    name: str = ""


class Format(msgspec.Struct):
    """What the text must look like."""

    type: str
    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(msgspec.Struct):
    """How text is wanted."""

    format: Format | None = None


class Reasoning(msgspec.Struct):
    """How hard to think."""

    effort: str | None = None


class Request(msgspec.Struct):
    """What `/v1/responses` is asked."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    # What vLLM's own Responses API takes besides.
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None


# What a chat completion calls the same.
_SAME = (
    "temperature",
    "top_p",
    "user",
    "parallel_tool_calls",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
)
_REQUEST = msgspec.json.Decoder(Request)


def open_responses(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return Responses(reading.request(body, _REQUEST))


# --- the request


def chat_messages(asked: Request) -> list[dict[str, Any]]:
    """The conversation in the words of chat completions. Raises ApiError 400."""
    found: list[dict[str, Any]] = []
    if asked.instructions:
        found.append({"role": "system", "content": asked.instructions})
    if isinstance(asked.input, str):
        return [*found, {"role": "user", "content": asked.input}]
    for number, item in enumerate(asked.input):
        where = f"input.{number}"
        if item.type == "message":
            if item.role not in ("user", "assistant", "system", "developer"):
                raise malformed(f"{where}.role: expected user, assistant, system or developer.", param=where)
            role = "system" if item.role == "developer" else item.role
            found.append({"role": role, "content": _content(item.content, where)})
        elif item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            if found and found[-1]["role"] == "assistant":
                found[-1].setdefault("tool_calls", []).append(call)
            else:
                found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif item.type == "function_call_output":
            content = _content(item.output, where)
            if not isinstance(content, str):
                raise cannot(f"{where}: a tool's output can only be text here.", where)
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
        elif item.type != "reasoning":
            raise cannot(f"{where}: input of the type '{item.type}' is not possible here.", where)
    if not found:
        raise malformed("input: at least one item is needed.", param="input")
    return found


def _content(content: str | list[Part] | None, where: str) -> str | list[dict[str, Any]]:
    if content is None or isinstance(content, str):
        return content or ""
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.type in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": part.text})
        elif part.type == "refusal":
            parts.append({"type": "text", "text": part.refusal})
        elif part.type == "input_image" and part.image_url:
            parts.append({"type": "image_url", "image_url": {"url": part.image_url}})
        else:
            raise cannot(f"{where}: content of the type '{part.type}' cannot be given to this model.", where)
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _tools(tools: list[Tool]) -> list[dict[str, Any]]:
    found = []
    for tool in tools:
        if tool.type != "function":
            raise cannot(f"tools: '{tool.type}' is not possible here; only functions are.", "tools")
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters or {"type": "object"}}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        found.append({"type": "function", "function": function})
    return found


def chat_request(asked: Request) -> dict[str, Any]:
    """The request in the words of chat completions. Raises ApiError 400."""
    for name in ("previous_response_id", "conversation", "background"):
        if getattr(asked, name):
            raise cannot(f"{name}: nothing is stored here; send the whole conversation as input.", name)
    said: dict[str, Any] = {"model": asked.model, "messages": chat_messages(asked)}
    if asked.stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    if asked.max_output_tokens is not None:
        said["max_tokens"] = asked.max_output_tokens
    for name in _SAME:
        value = getattr(asked, name)
        if value is not None:
            said[name] = value
    if asked.tools:
        said["tools"] = _tools(asked.tools)
        if isinstance(asked.tool_choice, str):
            said["tool_choice"] = asked.tool_choice
        elif asked.tool_choice is not None:
            said["tool_choice"] = {"type": "function", "function": {"name": asked.tool_choice.name}}
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        said["reasoning_effort"] = asked.reasoning.effort
    wanted = asked.text.format if asked.text is not None else None
    if wanted is not None and wanted.type == "json_schema":
        schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema or {}}
        if wanted.strict is not None:
            schema["strict"] = wanted.strict
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif wanted is not None and wanted.type == "json_object":
        said["response_format"] = {"type": "json_object"}
    return said


# --- the reply


def _message_item(number: str, text: str, status: str) -> dict[str, Any]:
    content = [_text_part(text)] if status != "in_progress" else []
    return {"type": "message", "id": f"msg_{number}", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _reasoning_item(number: str, text: str, status: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}] if status != "in_progress" else []
    return {"type": "reasoning", "id": f"rs_{number}", "summary": [], "content": content, "status": status}


def _call_item(number: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{number}", "call_id": call_id, "name": name}
    return head | {"arguments": arguments, "status": status}


class Responses:
    """One request to `/v1/responses`."""

    __slots__ = (
        "_asked",
        "_calls",
        "_item",
        "_kind",
        "_number",
        "_output",
        "_sequence",
        "_started",
        "_stream",
        "_text",
        "body",
    )

    path = b"/v1/chat/completions"
    content_type = b"text/event-stream; charset=utf-8"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request) -> None:
        self.body = encode(chat_request(asked))
        self._asked = asked
        self._stream = ChatStream()
        self._started = False
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._kind = ""  # of the item that is open
        self._item: dict[str, Any] = {}
        self._text: list[str] = []
        self._calls: dict[int, int] = {}  # index of a tool call → its place in the output
        self._number = ""

    def _response(self, created: int, status: str, output: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        asked = self._asked
        cut = status == "incomplete"
        return {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": asked.model,
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": asked.reasoning.effort if asked.reasoning else None, "summary": None},
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"}} if asked.text is None else asked.text,
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": _usage(usage) if usage is not None else None,
            "user": asked.user,
            "metadata": asked.metadata or {},
        }

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found, choice = read(body)
        self._number = _ID.sub("", found.id.removeprefix("chatcmpl-"))
        message = choice.message or Message()
        output = []
        if message.thoughts:
            output.append(_reasoning_item(self._number, message.thoughts, "completed"))
        calls = message.tool_calls or []
        if message.words or not calls:
            output.append(_message_item(self._number, message.words, "completed"))
        for number, call in enumerate(calls):
            name = f"{self._number}_{number}"
            call_id = call.id or f"call_{name}"
            output.append(_call_item(name, call_id, call.function.name or "", call.function.text(), "completed"))
        status = "incomplete" if choice.finish_reason == "length" else "completed"
        return encode(self._response(found.created, status, output, found.usage or Usage()))

    def _put(self, out: list[bytes], kind: str, **fields: Any) -> None:
        out.append(event(encode({"type": kind, "sequence_number": self._sequence, **fields}), kind.encode()))
        self._sequence += 1

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        for delta in self._stream.feed(data):
            self._start(out)
            self._say(delta, out)
        return b"".join(out)

    def _start(self, out: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        self._number = _ID.sub("", self._stream.id.removeprefix("chatcmpl-"))
        response = self._response(self._stream.created, "in_progress", [], None)
        self._put(out, "response.created", response=response)
        self._put(out, "response.in_progress", response=response)

    def _say(self, delta: Message, out: list[bytes]) -> None:
        if delta.thoughts:
            if self._kind != "reasoning":
                self._open("reasoning", _reasoning_item(self._number, "", "in_progress"), out)
            self._delta("response.reasoning_text.delta", delta.thoughts, out, content_index=0)
        if delta.words:
            if self._kind != "message":
                self._open("message", _message_item(self._number, "", "in_progress"), out)
                self._put(out, "response.content_part.added", **self._where(), content_index=0, part=_text_part(""))
            self._delta("response.output_text.delta", delta.words, out, content_index=0, logprobs=[])
        for place, call in enumerate(delta.tool_calls or ()):
            number = call.index if call.index is not None else place
            known = self._calls.get(number)
            if known is None:
                name = f"{self._number}_{number}"
                item = _call_item(name, call.id or f"call_{name}", call.function.name or "", "", "in_progress")
                self._open("function_call", item, out)
                self._calls[number] = len(self._output)
            elif known != len(self._output):
                raise UntranslatableReply("the engine returns to a tool call that it had left")
            if call.function.text():
                self._delta("response.function_call_arguments.delta", call.function.text(), out)

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item["id"], "output_index": len(self._output)}

    def _open(self, kind: str, item: dict[str, Any], out: list[bytes]) -> None:
        self._close(out)
        self._kind, self._item, self._text = kind, item, []
        self._put(out, "response.output_item.added", output_index=len(self._output), item=item)

    def _delta(self, kind: str, text: str, out: list[bytes], **fields: Any) -> None:
        self._text.append(text)
        self._put(out, kind, **self._where(), delta=text, **fields)

    def _close(self, out: list[bytes]) -> None:
        if not self._kind:
            return
        text = "".join(self._text)
        where = self._where()
        if self._kind == "message":
            self._put(out, "response.output_text.done", **where, content_index=0, text=text, logprobs=[])
            self._put(out, "response.content_part.done", **where, content_index=0, part=_text_part(text))
            item = self._item | {"status": "completed", "content": [_text_part(text)]}
        elif self._kind == "reasoning":
            self._put(out, "response.reasoning_text.done", **where, content_index=0, text=text)
            item = self._item | {"status": "completed", "content": [{"type": "reasoning_text", "text": text}]}
        else:
            name = self._item["name"]
            self._put(out, "response.function_call_arguments.done", **where, name=name, arguments=text)
            item = self._item | {"status": "completed", "arguments": text}
        self._put(out, "response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._kind = ""

    def end(self) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        self._start(out)
        self._close(out)
        stream = self._stream
        status = "incomplete" if stream.finish_reason == "length" else "completed"
        response = self._response(stream.created, status, self._output, stream.usage)
        self._put(out, f"response.{status}", response=response)
        return b"".join(out)

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error.body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        said = {
            "type": "error",
            "sequence_number": self._sequence,
            "code": error.reason,
            "message": error.message,
            "param": error.param,
        }
        return event(encode(said), b"error")


def _usage(usage: Usage) -> dict[str, Any]:
    generated = usage.completion_tokens or 0
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": generated,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt_tokens + generated,
    }
