# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses API as chat completions, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support.chat import call, events, stream, translated, whole
from openai.types.responses import Response

from llm_gateway.errors import ApiError
from llm_gateway.protocols.responses import open_responses


def opened(**fields: Any) -> Any:
    return open_responses(b"/v1/responses", json.dumps({"model": "m", "input": "hi", **fields}).encode())


def said(**fields: Any) -> Any:
    return json.loads(opened(**fields).body)


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def test_a_plain_question_becomes_a_chat() -> None:
    found = said(instructions="be kind", max_output_tokens=9)
    expected = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert (found["messages"], found["max_tokens"]) == (expected, 9)


def test_what_vllm_takes_besides_reaches_the_engine() -> None:
    extras = {
        "ignore_eos": True,
        "seed": 7,
        "stop": ["x"],
        "top_k": 3,
        "repetition_penalty": 1.1,
        "logit_bias": {"5": -1},
    }
    found = said(**extras)
    assert {name: found.get(name) for name in extras} == extras
    assert "seed" not in said(seed=None)


def test_a_conversation_with_a_tool() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {"type": "reasoning", "id": "r", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
    ]
    found = said(input=items, tools=[TOOL], tool_choice={"type": "function", "name": "f"})
    assert [each["role"] for each in found["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [each["id"] for each in found["messages"][1]["tool_calls"]] == ["c1", "c2"]
    assert found["tools"][0]["function"] == {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert found["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_a_picture_and_a_format() -> None:
    picture = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}],
    }
    wanted = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}
    found = said(input=[picture], text=wanted, reasoning={"effort": "low"})
    assert found["messages"][0]["content"][0]["image_url"]["url"] == "data:image/png;base64,AA"
    assert found["response_format"]["json_schema"] == {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert found["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
        ({"input": [{"role": "robot", "content": "x"}]}, "role"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "web_search"),
        ({"tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "web_search"),
        ({"tools": [TOOL], "tool_choice": {"type": "perhaps"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "g"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input_file"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(fields: Any, word: str) -> None:
    with pytest.raises(ApiError) as caught:
        opened(**fields)
    assert caught.value.status == 400
    assert word in caught.value.message


def test_a_whole_reply() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    reply = whole({"content": "hello", "reasoning_content": "hm", "tool_calls": calls})
    found = Response.model_validate_json(opened().whole(reply))
    assert (found.output_text, found.status, found.usage.total_tokens) == ("hello", "completed", 16)
    assert [item.type for item in found.output] == ["reasoning", "message", "function_call"]


def test_a_reply_that_was_cut_is_incomplete() -> None:
    found = Response.model_validate_json(opened().whole(whole({"content": "x"}, "length")))
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_stream_in_order_and_numbered() -> None:
    data = stream({"content": "he"}, {"content": "llo"}, call(0, "c1", "f", '{"a"'), call(0, None, None, ":1}"))
    found = events(translated(opened(stream=True), data))
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    kinds = [each["type"].removeprefix("response.") for each in found]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    last = Response.model_validate(found[-1]["response"])
    assert last.output_text == "hello"
    assert last.output[1].arguments == '{"a":1}'


@pytest.mark.parametrize("size", [1, 5, 33])
def test_a_stream_cut_anywhere_says_the_same(size: int) -> None:
    data = stream({"reasoning": "grüß"}, {"content": "x"})
    assert translated(opened(stream=True), data, size) == translated(opened(stream=True), data)


def test_an_error_within_a_stream() -> None:
    found = opened(stream=True).error_event(ApiError(502, "broke", code="engine_error"))
    assert found.startswith(b"event: error\n")
    assert events(found)[0]["code"] == "engine_error"
