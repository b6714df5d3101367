# SPDX-License-Identifier: Apache-2.0
"""Every field of the three APIs, and what becomes of it: nothing is dropped in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as AnthropicBeta
from anthropic.types.message_create_params import MessageCreateParamsBase as Anthropic
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
from openai.types.responses.response_create_params import ResponseCreateParamsBase as OpenAIResponses

from llm_gateway.errors import ApiError
from llm_gateway.protocols import anthropic, openai, responses, tgi
from llm_gateway.protocols.anthropic.fields import FIELDS as MESSAGES
from llm_gateway.protocols.fields import Fate, Fields
from llm_gateway.protocols.responses.fields import FIELDS as RESPONSES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "compatibility.md"
TABLES: dict[str, Fields] = {"/v1/messages": MESSAGES, "/v1/responses": RESPONSES, "/generate": tgi.PARAMETERS}
MESSAGE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": "m", "input": "hi"}
# What vLLM, SGLang and llama.cpp take besides: no API's own, so they pass every one of them.
EXTRAS: dict[str, Any] = {
    "min_p": 0.1,
    "seed": 7,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "logit_bias": {"5": -1},
    "chat_template_kwargs": {"enable_thinking": False},
    "priority": 3,
    "cache_salt": "s",
    "structured_outputs": {"regex": "a"},
    "guided_json": {"z": 1, "a": 2},
    "stop_token_ids": [1, 2],
    "ignore_eos": True,
    "kv_transfer_params": {"do_remote_decode": True},
    "lora_path": "x",
    "an_option_of_tomorrow": [1, 2.5, None],
}
SAMPLES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 4,
    "user": "u",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"a": 1},
    "safety_identifier": "s",
    "service_tier": "flex",
}


def said(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The request as an engine gets it."""
    opener = anthropic.open_messages if path == "/v1/messages" else responses.open_responses
    asked = (MESSAGE if path == "/v1/messages" else RESPONSE) | fields
    return json.loads(opener(path.encode(), json.dumps(asked).encode()).body)


@pytest.mark.parametrize(
    ("table", "kinds"),
    [(MESSAGES, (Anthropic, AnthropicBeta)), (RESPONSES, (OpenAIResponses,))],
    ids=["messages", "responses"],
)
def test_the_table_has_every_field_of_the_api(table: Fields, kinds: tuple[type, ...]) -> None:
    names = {name for kind in kinds for name in kind.__annotations__}
    assert names - table.keys() == set()


def test_a_chat_passes_every_field_as_it_came() -> None:
    fields = {name: {"some": ["value", 1.50, None]} for name in Chat.__annotations__ if name not in READ}
    body = json.dumps(MESSAGE | fields | EXTRAS).encode()
    assert openai.read(body).model == "m"
    again = json.loads(openai.with_model(body, "other"))
    assert again == json.loads(body) | {"model": "other"}


# What the gateway reads of a chat itself.
READ = {"model", "stream", "max_tokens", "max_completion_tokens", "n", "messages", "user"}


@pytest.mark.parametrize("name", EXTRAS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_what_engines_take_besides_reaches_them(path: str, name: str) -> None:
    assert said(path, {name: EXTRAS[name]})[name] == EXTRAS[name]


CASES = [(path, name) for path in ("/v1/messages", "/v1/responses") for name in TABLES[path] if "." not in name]


@pytest.mark.parametrize(("path", "name"), CASES)
def test_a_field_fares_as_the_table_says(path: str, name: str) -> None:
    fate, __ = TABLES[path][name]
    if fate is Fate.PASSED:
        assert said(path, {name: SAMPLES[name]})[name] == SAMPLES[name]
    elif fate is Fate.REFUSED:
        with pytest.raises(ApiError) as caught:
            said(path, {name: {"some": "value"}})
        assert (caught.value.status, caught.value.param) == (400, name)
        assert name in caught.value.message
        assert name not in said(path, {name: None})
    elif fate is Fate.HINT:
        assert said(path, {name: ["some value"] if name == "betas" else {"some": "value"}}) == said(path, {})
    else:
        assert fate in (Fate.SAID, Fate.HERE)


SAID: list[tuple[str, str, Any, dict[str, Any]]] = [
    (
        "/v1/messages",
        "system",
        "s",
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]},
    ),
    ("/v1/messages", "max_tokens", 7, {"max_tokens": 7}),
    ("/v1/messages", "stream", True, {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/messages", "stop_sequences", ["x"], {"stop": ["x"]}),
    ("/v1/messages", "metadata", {"user_id": "u"}, {"user": "u"}),
    ("/v1/messages", "thinking", {"type": "disabled"}, {"chat_template_kwargs": {"enable_thinking": False}}),
    ("/v1/messages", "output_config", {"effort": "max"}, {"reasoning_effort": "high"}),
    (
        "/v1/responses",
        "instructions",
        "s",
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]},
    ),
    ("/v1/responses", "max_output_tokens", 7, {"max_tokens": 7}),
    ("/v1/responses", "stream", True, {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/responses", "reasoning", {"effort": "low"}, {"reasoning_effort": "low"}),
    ("/v1/responses", "text", {"verbosity": "low"}, {"verbosity": "low"}),
    ("/v1/responses", "text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ("/v1/responses", "top_logprobs", 2, {"logprobs": True, "top_logprobs": 2}),
    ("/v1/responses", "include", ["message.output_text.logprobs"], {"logprobs": True, "top_logprobs": 0}),
]


@pytest.mark.parametrize(("path", "name", "value", "expected"), SAID)
def test_a_field_is_said_in_other_words(path: str, name: str, value: Any, expected: dict[str, Any]) -> None:
    assert {key: said(path, {name: value}).get(key) for key in expected} == expected


def test_the_settings_of_a_chat_template_are_put_together() -> None:
    both = said("/v1/messages", {"thinking": {"type": "enabled"}, "chat_template_kwargs": {"own": 1}})
    assert both["chat_template_kwargs"] == {"enable_thinking": True, "own": 1}


def test_the_page_shows_the_tables() -> None:
    page = PAGE.read_text()
    for path, table in TABLES.items():
        shown = page.split(f"<!-- fields {path} -->\n")[1].split("<!-- /fields -->")[0]
        assert shown == table_of(table), f"docs/compatibility.md: fields of {path}; expected:\n{table_of(table)}"


def table_of(fields: Fields) -> str:
    lines = [f"| `{name}` | {fate.value} | {what} |\n" for name, (fate, what) in fields.items()]
    return "| field | what becomes of it | |\n| --- | --- | --- |\n" + "".join(lines)
