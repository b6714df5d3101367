# SPDX-License-Identifier: Apache-2.0
"""Anthropic's Messages API (https://docs.anthropic.com/en/api/messages), said in OpenAI's words and back.

Text, images, documents of text, tools, thinking, stop sequences and streaming are translated both ways. What no engine behind this gateway
can do (PDF documents, tools that Anthropic's own servers run) is refused with a 400 that says so; hints that only Anthropic's cache and
billing understand (`cache_control`, `service_tier`) are passed over.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import ApiError, malformed
from llm_gateway.protocols import Translation, UntranslatableReply, reading
from llm_gateway.protocols.chat import ChatStream, Message, Usage, read
from llm_gateway.protocols.reading import cannot, encode, flat_text
from llm_gateway.protocols.sse import event

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ID = re.compile(r"[^A-Za-z0-9_-]")


class Source(msgspec.Struct):
    """Where a block's bytes are."""

    type: str
    data: str = ""
    media_type: str = ""
    url: str = ""
    content: str | list[Block] = ""


class Block(msgspec.Struct):
    """A content block of any type; which fields count depends on it."""

    type: str
    text: str = ""
    thinking: str = ""
    source: Source | None = None
    title: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    tool_use_id: str = ""
    content: str | list[Block] = ""
    is_error: bool | None = None


class Turn(msgspec.Struct):
    """One message."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct):
    """A tool; a `type` other than custom is run by Anthropic's servers."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct):
    """Whether a tool must be used."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether the model thinks aloud."""

    type: str


class OutputFormat(msgspec.Struct):
    """What the text must look like."""

    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    """How the answer is wanted."""

    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(msgspec.Struct):
    """Who asks."""

    user_id: str | None = None


class CountRequest(msgspec.Struct):
    """What `/v1/messages/count_tokens` is asked; also the part of a request that makes the prompt."""

    model: str
    messages: list[Turn]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None


class Request(CountRequest, kw_only=True):
    """What `/v1/messages` is asked."""

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None


_REQUEST = msgspec.json.Decoder(Request)
_COUNT_REQUEST = msgspec.json.Decoder(CountRequest)


def open_messages(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return Messages(reading.request(body, _REQUEST))


def open_count(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return TokenCount(reading.request(body, _COUNT_REQUEST))


# --- the request


def chat_messages(asked: CountRequest) -> list[dict[str, Any]]:
    """The conversation in OpenAI's words. Raises ApiError 400."""
    found: list[dict[str, Any]] = []
    system = _texts(asked.system, "system") if asked.system else ""
    if system:
        found.append({"role": "system", "content": system})
    if not asked.messages:
        raise malformed("messages: at least one message is needed.", param="messages")
    for number, turn in enumerate(asked.messages):
        where = f"messages.{number}"
        if turn.role == "user":
            found += _user(turn.content, where)
        elif turn.role == "assistant":
            found.append(_assistant(turn.content, where))
        elif turn.role == "system":
            found.append({"role": "system", "content": _texts(turn.content, where)})
        else:
            raise malformed(f"{where}.role: expected user or assistant.", param=where)
    return found


def _texts(content: str | list[Block], where: str) -> str:
    if isinstance(content, str):
        return content
    for block in content:
        if block.type != "text":
            raise malformed(f"{where}: only text can stand here.", param=where)
    return "\n".join(block.text for block in content)


def _user(content: str | list[Block], where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in content:
        if block.type == "tool_result":
            text, pictures = _result(block, where)
            results.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            # OpenAI's tool messages carry text only; a picture that a tool made is shown in the user's name.
            parts += pictures
        else:
            parts.append(_part(block, where))
    if not parts:
        return results
    if all(part["type"] == "text" for part in parts):
        # Some engines take plain text only.
        return [*results, {"role": "user", "content": "\n".join(part["text"] for part in parts)}]
    return [*results, {"role": "user", "content": parts}]


def _result(block: Block, where: str) -> tuple[str, list[dict[str, Any]]]:
    if isinstance(block.content, str):
        text, pictures = block.content, []
    else:
        parts = [_part(inner, where) for inner in block.content]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        pictures = [part for part in parts if part["type"] != "text"]
    return f"Error: {text}" if block.is_error else text, pictures


def _part(block: Block, where: str) -> dict[str, Any]:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    source = block.source
    if block.type == "image" and source is not None:
        if source.type == "base64":
            return {"type": "image_url", "image_url": {"url": f"data:{source.media_type};base64,{source.data}"}}
        if source.type == "url":
            return {"type": "image_url", "image_url": {"url": source.url}}
    if block.type == "document" and source is not None:
        heading = f"{block.title}\n\n" if block.title else ""
        if source.type == "text":
            return {"type": "text", "text": heading + source.data}
        if source.type == "content":
            return {"type": "text", "text": heading + _texts(source.content, where)}
    if block.type == "search_result":
        return {"type": "text", "text": _texts(block.content, where)}
    kind = f"{block.type} ({source.type})" if source is not None else block.type
    raise cannot(f"{where}: content of the type '{kind}' cannot be given to this model.", where)


def _assistant(content: str | list[Block], where: str) -> dict[str, Any]:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    said = [block.text for block in content if block.type == "text"]
    thoughts = [block.thinking for block in content if block.type == "thinking"]
    calls = []
    for block in content:
        if block.type == "tool_use":
            arguments = bytes(block.input).decode()
            calls.append({"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}})
        elif block.type not in ("text", "thinking", "redacted_thinking"):
            raise cannot(f"{where}: content of the type '{block.type}' cannot be given to this model.", where)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said) if said or not calls else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def chat_tools(tools: list[Tool]) -> list[dict[str, Any]]:
    """The tools in OpenAI's words. Raises ApiError 400."""
    found = []
    for tool in tools:
        if tool.type not in (None, "custom"):
            raise cannot(f"tools: '{tool.type}' runs on Anthropic's servers only.", "tools")
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema or {"type": "object"}}
        if tool.description is not None:
            function["description"] = tool.description
        found.append({"type": "function", "function": function})
    return found


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    try:
        return {"auto": "auto", "any": "required", "none": "none"}[choice.type]
    except KeyError:
        raise malformed("tool_choice.type: expected auto, any, tool or none.", param="tool_choice") from None


def chat_request(asked: Request) -> dict[str, Any]:
    """The request in OpenAI's words. Raises ApiError 400."""
    if asked.max_tokens < 1:
        raise malformed("max_tokens: at least 1.", param="max_tokens")
    said: dict[str, Any] = {
        "model": asked.model,
        "messages": chat_messages(asked),
        "max_tokens": asked.max_tokens,
    }
    if asked.stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    if asked.stop_sequences:
        said["stop"] = asked.stop_sequences
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(asked, name)
        if value is not None:
            said[name] = value
    if asked.metadata is not None and asked.metadata.user_id:
        said["user"] = asked.metadata.user_id
    if asked.tools:
        said["tools"] = chat_tools(asked.tools)
        if asked.tool_choice is not None:
            said["tool_choice"] = _choice(asked.tool_choice)
            if asked.tool_choice.disable_parallel_tool_use:
                said["parallel_tool_calls"] = False
    config = asked.output_config
    if config is not None and config.effort is not None:
        said["reasoning_effort"] = config.effort
    if config is not None and config.format is not None and config.format.type == "json_schema":
        schema = {"name": "answer", "schema": config.format.schema or {}}
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    if asked.thinking is not None and asked.thinking.type in ("enabled", "disabled"):
        # What vLLM, SGLang and llama.cpp hand to the model's chat template.
        said["chat_template_kwargs"] = {"enable_thinking": asked.thinking.type == "enabled"}
    return said


# --- the reply


class _Errors:
    """Errors in Anthropic's words."""

    __slots__ = ()

    def error(self, error: ApiError) -> bytes:
        """See Translation."""
        return error.anthropic_body()

    def error_event(self, error: ApiError) -> bytes:
        """See Translation."""
        return event(error.anthropic_body(), b"error")


class Messages(_Errors):
    """One request to `/v1/messages`."""

    __slots__ = ("_block", "_model", "_open", "_started", "_stops", "_stream", "_tools", "body")

    path = b"/v1/chat/completions"
    content_type = b"text/event-stream; charset=utf-8"
    comment = b": keep-alive\n\n"

    def __init__(self, asked: Request) -> None:
        self.body = encode(chat_request(asked))
        self._model = asked.model
        self._stops = frozenset(asked.stop_sequences or ())
        self._stream = ChatStream()
        self._started = False
        self._block = -1
        self._open = ""  # the type of the block that is open
        self._tools: dict[int, int] = {}  # OpenAI's index of a tool call → our block

    def _stop(self, finish: str | None, stop: int | str | None) -> tuple[str, str | None]:
        if isinstance(stop, str) and stop in self._stops:
            return "stop_sequence", stop
        return _STOP_REASONS.get(finish or "stop", "end_turn"), None

    def whole(self, body: bytes) -> bytes:
        """See Translation."""
        found, choice = read(body)
        message = choice.message or Message()
        content: list[dict[str, Any]] = []
        if message.thoughts:
            content.append({"type": "thinking", "thinking": message.thoughts, "signature": ""})
        calls = message.tool_calls or []
        if message.words or not calls:
            content.append({"type": "text", "text": message.words})
        for number, call in enumerate(calls):
            content.append(
                {
                    "type": "tool_use",
                    "id": _tool_id(call.id, found.id, number),
                    "name": call.function.name or "",
                    "input": _arguments(call.function.text()),
                }
            )
        reason, sequence = self._stop(choice.finish_reason, choice.stop_reason)
        if calls and reason == "end_turn":
            reason = "tool_use"
        usage = found.usage or Usage()
        return encode(
            {
                "id": _message_id(found.id),
                "type": "message",
                "role": "assistant",
                "model": self._model,
                "content": content,
                "stop_reason": reason,
                "stop_sequence": sequence,
                "usage": _usage(usage),
            }
        )

    def piece(self, data: bytes) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        for delta in self._stream.feed(data):
            if not self._started:
                self._start(out)
            self._say(delta, out)
        return b"".join(out)

    def end(self) -> bytes:
        """See Translation."""
        out: list[bytes] = []
        if not self._started:
            self._start(out)
        if self._block < 0:
            self._begin("text", {"type": "text", "text": ""}, out)
        self._close(out)
        stream = self._stream
        reason, sequence = self._stop(stream.finish_reason, stream.stop_reason)
        if self._tools and reason == "end_turn":
            reason = "tool_use"
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        _put(out, {"type": "message_delta", "delta": delta, "usage": _usage(stream.usage)})
        _put(out, {"type": "message_stop"})
        return b"".join(out)

    def _start(self, out: list[bytes]) -> None:
        self._started = True
        message: dict[str, Any] = {
            "id": _message_id(self._stream.id),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(self._stream.usage),
        }
        _put(out, {"type": "message_start", "message": message})
        _put(out, {"type": "ping"})

    def _say(self, delta: Message, out: list[bytes]) -> None:
        if delta.thoughts:
            if self._open != "thinking":
                self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
            self._delta({"type": "thinking_delta", "thinking": delta.thoughts}, out)
        if delta.words:
            if self._open != "text":
                self._begin("text", {"type": "text", "text": ""}, out)
            self._delta({"type": "text_delta", "text": delta.words}, out)
        for place, call in enumerate(delta.tool_calls or ()):
            number = call.index if call.index is not None else place
            block = self._tools.get(number)
            if block is None:
                start = {
                    "type": "tool_use",
                    "id": _tool_id(call.id, self._stream.id, number),
                    "name": call.function.name or "",
                    "input": {},
                }
                self._begin("tool_use", start, out)
                self._tools[number] = self._block
            elif block != self._block:
                raise UntranslatableReply("the engine returns to a tool call that it had left")
            text = call.function.text()
            if text:
                self._delta({"type": "input_json_delta", "partial_json": text}, out)

    def _begin(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        self._close(out)
        self._block += 1
        self._open = kind
        _put(out, {"type": "content_block_start", "index": self._block, "content_block": block})

    def _delta(self, delta: dict[str, Any], out: list[bytes]) -> None:
        _put(out, {"type": "content_block_delta", "index": self._block, "delta": delta})

    def _close(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            _put(out, {"type": "content_block_stop", "index": self._block})


class _Counted(msgspec.Struct):
    """What engines say to `/tokenize`."""

    count: int | None = None
    tokens: list[Any] | None = None


_COUNTED = msgspec.json.Decoder(_Counted)


class TokenCount(_Errors):
    """One request to `/v1/messages/count_tokens`: the engine's own tokenizer counts."""

    __slots__ = ("body",)

    path = b"/tokenize"
    content_type = b"application/json"
    comment = b""

    def __init__(self, asked: CountRequest) -> None:
        messages = chat_messages(asked)
        # vLLM reads the messages, llama.cpp the text in `content`.
        said: dict[str, Any] = {"model": asked.model, "messages": messages, "content": flat_text(messages)}
        if asked.tools:
            said["tools"] = chat_tools(asked.tools)
        self.body = encode(said)

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


def _message_id(engine_id: str) -> str:
    return "msg_" + _ID.sub("", engine_id.removeprefix("chatcmpl-"))[:64]


def _tool_id(given: str | None, reply_id: str, number: int) -> str:
    # Clients send the id back as the engine gave it, so only what Anthropic's own pattern forbids is changed.
    return _ID.sub("_", given) if given else f"toolu_{_ID.sub('', reply_id)[:48]}_{number}"


def _arguments(text: str) -> Any:
    """A tool's input is an object; a model that wrote none gets its text shown, rather than the whole reply lost."""
    try:
        found = msgspec.json.decode(text.encode()) if text.strip() else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {"arguments": text}
    return found if isinstance(found, dict) else {"arguments": found}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        # Anthropic counts cached tokens apart, OpenAI among the prompt's.
        "input_tokens": max(0, usage.prompt_tokens - usage.cached),
        "output_tokens": usage.completion_tokens or 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
    }
