# SPDX-License-Identifier: Apache-2.0
"""A request to `/v1/responses`, and what it is as a chat completion."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.errors import malformed
from llm_gateway.protocols import reading
from llm_gateway.protocols.conversation import Conversation, only_effort
from llm_gateway.protocols.fields import passed_on
from llm_gateway.protocols.responses.content import write
from llm_gateway.protocols.responses.fields import FIELDS
from llm_gateway.protocols.responses.tools import Tools

_LOGPROBS = "message.output_text.logprobs"


class Format(msgspec.Struct):
    """What the text must look like."""

    type: str
    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class Text(msgspec.Struct):
    """How text is wanted."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    """How hard to think."""

    effort: str | None = None


class Request(msgspec.Struct):
    """What `/v1/responses` is asked."""

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def logprobs(self) -> bool:
        """Whether the answer's log probabilities are wanted."""
        return self.top_logprobs is not None or _LOGPROBS in (self.include or ())


_REQUEST = msgspec.json.Decoder(Request, strict=False)


def read(body: bytes) -> tuple[Request, dict[str, Any]]:
    """The request, and what of it goes to the engine as it came. Raises ApiError 400."""
    body = reading.readable(body)
    asked = reading.request(body, _REQUEST)
    return asked, passed_on(body, FIELDS)


def chat_messages(asked: Request, tools: Tools) -> list[dict[str, Any]]:
    """The conversation in the words of chat completions. Raises ApiError 400."""
    conversation = Conversation()
    conversation.system(asked.instructions or "")
    if isinstance(asked.input, str):
        conversation.user([{"type": "text", "text": asked.input}])
    elif asked.input:
        write(conversation, asked.input, tools)
    else:
        raise malformed("input: at least one item is needed.", param="input")
    return conversation.messages()


def chat_request(asked: Request, passed: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """The request in the words of chat completions. Raises ApiError 400."""
    tools.add(asked.tools or [])
    said: dict[str, Any] = {**passed, "model": asked.model, "messages": chat_messages(asked, tools)}
    if asked.stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    if asked.max_output_tokens is not None:
        said["max_tokens"] = asked.max_output_tokens
    said |= tools.said(asked.tool_choice, asked.parallel_tool_calls)
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        said["reasoning_effort"] = only_effort(asked.reasoning.effort)
    if asked.logprobs:
        said |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
    if asked.text is not None:
        said |= _text(asked.text)
    return said


def _text(asked: Text) -> dict[str, Any]:
    said: dict[str, Any] = {} if asked.verbosity is None else {"verbosity": asked.verbosity}
    wanted = asked.format
    if wanted is None or wanted.type == "text":
        return said
    if wanted.type == "json_object":
        return said | {"response_format": {"type": "json_object"}}
    if wanted.type != "json_schema":
        raise malformed("text.format.type: expected text, json_schema or json_object.", param="text.format")
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema or {}}
    schema |= {name: value for name in ("description", "strict") if (value := getattr(wanted, name)) is not None}
    return said | {"response_format": {"type": "json_schema", "json_schema": schema}}
