# SPDX-License-Identifier: Apache-2.0
"""A request to `/v1/messages`, and what it is as a chat completion."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.errors import malformed
from llm_gateway.protocols import reading
from llm_gateway.protocols.anthropic.content import Block, Turn, write
from llm_gateway.protocols.anthropic.fields import FIELDS
from llm_gateway.protocols.anthropic.tools import Tool, ToolChoice, Tools
from llm_gateway.protocols.conversation import Conversation, only_effort
from llm_gateway.protocols.fields import passed_on


class Thinking(msgspec.Struct):
    """Whether the model thinks aloud."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct):
    """What the text must look like."""

    type: str
    schema: dict[str, Any] | None = None
    name: str | None = None


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
    output_format: OutputFormat | None = None


_REQUEST = msgspec.json.Decoder(Request, strict=False)
_COUNT_REQUEST = msgspec.json.Decoder(CountRequest, strict=False)


def read(body: bytes) -> tuple[Request, dict[str, Any]]:
    """The request, and what of it goes to the engine as it came. Raises ApiError 400."""
    body = reading.readable(body)
    asked = reading.request(body, _REQUEST)
    return asked, passed_on(body, FIELDS)


def read_count(body: bytes) -> CountRequest:
    """See `read`."""
    return reading.request(reading.readable(body), _COUNT_REQUEST)


def chat_messages(asked: CountRequest) -> list[dict[str, Any]]:
    """The conversation in OpenAI's words. Raises ApiError 400."""
    if not asked.messages:
        raise malformed("messages: at least one message is needed.", param="messages")
    conversation = Conversation()
    write(conversation, asked.system, asked.messages)
    return conversation.messages()


def chat_request(asked: Request, passed: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """The request in OpenAI's words. Raises ApiError 400."""
    if asked.max_tokens < 1:
        raise malformed("max_tokens: at least 1.", param="max_tokens")
    messages = chat_messages(asked)
    said: dict[str, Any] = {**passed, "model": asked.model, "messages": messages, "max_tokens": asked.max_tokens}
    if asked.stream:
        said["stream"] = True
        said["stream_options"] = {"include_usage": True}
    if asked.stop_sequences:
        said["stop"] = asked.stop_sequences
    if asked.metadata is not None and asked.metadata.user_id:
        said["user"] = asked.metadata.user_id
    said |= tools.said(asked.tool_choice)
    config = asked.output_config or OutputConfig()
    if config.effort is not None:
        said["reasoning_effort"] = only_effort(config.effort)
    wanted = config.format or asked.output_format
    if wanted is not None:
        said["response_format"] = _response_format(wanted)
    said |= _thinking(asked.thinking, passed)
    last = messages[-1]
    if last["role"] == "assistant" and "tool_calls" not in last:
        # The client has begun the answer; what vLLM and SGLang need to go on with it.
        said |= {"continue_final_message": True, "add_generation_prompt": False}
    return said


def _response_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.type != "json_schema":
        raise malformed("output_config.format.type: expected json_schema.", param="output_config.format")
    schema = {"name": wanted.name or "answer", "schema": wanted.schema or {}}
    return {"type": "json_schema", "json_schema": schema}


def _thinking(asked: Thinking | None, passed: dict[str, Any]) -> dict[str, Any]:
    """What vLLM, SGLang and llama.cpp need to know; the model's chat template gets the same."""
    if asked is None or asked.type not in ("enabled", "disabled"):
        return {}
    settings: dict[str, Any] = {"enable_thinking": asked.type == "enabled"}
    said: dict[str, Any] = {}
    if asked.type == "enabled" and asked.budget_tokens:
        settings["thinking_budget"] = asked.budget_tokens
        said = {"thinking_token_budget": asked.budget_tokens, "thinking_budget_tokens": asked.budget_tokens}
    given = passed.get("chat_template_kwargs")
    own = reading.record(msgspec.json.decode(given)) if given is not None else {}
    return said | {"chat_template_kwargs": settings | own}
