# SPDX-License-Identifier: Apache-2.0
"""Anthropic's Messages API in OpenAI's words, and back."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types
import pytest
from gateway_support.chat import call, events, stream, translated, whole

from llm_gateway.errors import ApiError
from llm_gateway.protocols import UntranslatableReply
from llm_gateway.protocols.anthropic import open_count, open_messages


def opened(**fields: Any) -> Any:
    asked = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **fields}
    return open_messages(b"/v1/messages", json.dumps(asked).encode())


def said(**fields: Any) -> Any:
    return json.loads(opened(**fields).body)


def message(data: bytes) -> anthropic.types.Message:
    return anthropic.types.Message.model_validate_json(data)


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        opened(**fields)
    return caught.value


TOOL = {"name": "weather", "description": "tells it", "input_schema": {"type": "object", "properties": {}}}


def test_a_plain_question_becomes_a_chat() -> None:
    assert said() == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    assert opened().path == b"/v1/chat/completions"


def test_settings_get_their_other_names() -> None:
    found = said(
        system=[
            {"type": "text", "text": "be"},
            {"type": "text", "text": "kind", "cache_control": {"type": "ephemeral"}},
        ],
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        stream=True,
        metadata={"user_id": "u1"},
    )
    assert found["messages"][0] == {"role": "system", "content": "be\nkind"}
    assert (found["stop"], found["temperature"], found["top_p"], found["top_k"]) == (["END"], 0.5, 0.9, 7)
    assert (found["stream"], found["stream_options"], found["user"]) == (True, {"include_usage": True}, "u1")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_tools_and_their_choice(choice: Any, expected: Any) -> None:
    found = said(tools=[TOOL], tool_choice=choice)
    function = {"name": "weather", "description": "tells it", "parameters": {"type": "object", "properties": {}}}
    assert found["tools"] == [{"type": "function", "function": function}]
    assert found["tool_choice"] == expected


def test_one_tool_at_a_time() -> None:
    found = said(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert found["parallel_tool_calls"] is False


def test_a_whole_conversation_with_tools_thoughts_and_results() -> None:
    turns = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hmm", "signature": "s"},
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"at": "Köln"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "and?"},
            ],
        },
    ]
    found = said(messages=turns)["messages"]
    assert found[1]["reasoning_content"] == "hmm"
    assert found[1]["content"] == "let me see"
    assert json.loads(found[1]["tool_calls"][0]["function"]["arguments"]) == {"at": "Köln"}
    assert found[2] == {"role": "tool", "tool_call_id": "t1", "content": "rain"}
    assert found[3] == {"role": "user", "content": "and?"}


def test_a_failed_tool_says_so() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True}
    assert said(messages=[{"role": "user", "content": [result]}])["messages"][0]["content"] == "Error: no"


def test_pictures_become_data_urls_also_those_of_tools() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    shown = {"type": "tool_result", "tool_use_id": "t1", "content": [picture]}
    found = said(messages=[{"role": "user", "content": [shown, {"type": "text", "text": "see"}, linked]}])["messages"]
    assert found[0] == {"role": "tool", "tool_call_id": "t1", "content": ""}
    urls = [part["image_url"]["url"] for part in found[1]["content"] if part["type"] == "image_url"]
    assert urls == ["data:image/png;base64,AAAA", "https://x/y.png"]


def test_documents_of_text_become_text() -> None:
    document = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}
    assert said(messages=[{"role": "user", "content": [document]}])["messages"][0]["content"] == "T\n\nD"


def test_a_wanted_shape_and_effort() -> None:
    found = said(output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}})
    assert found["reasoning_effort"] == "low"
    assert found["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize("kind", ["enabled", "disabled"])
def test_thinking_reaches_the_chat_template(kind: str) -> None:
    asked = said(thinking={"type": kind, "budget_tokens": 1024})
    assert asked["chat_template_kwargs"]["enable_thinking"] == (kind == "enabled")
    assert asked.get("thinking_token_budget") == asked.get("thinking_budget_tokens")
    assert asked.get("thinking_token_budget") == (1024 if kind == "enabled" else None)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": ""}}]}
                ]
            },
            "document",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "hologram"),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "web_search",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "w"}], "tool_choice": {"type": "any"}},
            "web_search_20250305",
        ),
        ({"mcp_servers": [{"type": "url", "url": "https://x"}]}, "mcp_servers"),
        ({"n": 2}, "n: "),
        ({"tools": [TOOL], "tool_choice": {"type": "perhaps"}}, "tool_choice"),
        ({"system": [{"type": "image"}]}, "system"),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(fields: Any, word: str) -> None:
    error = refusal(**fields)
    assert error.status == 400
    assert word in error.message


def test_a_whole_reply() -> None:
    found = message(opened().whole(whole({"content": "hello"})))
    assert (found.content[0].type, found.content[0].text) == ("text", "hello")
    assert (found.stop_reason, found.usage.input_tokens, found.usage.output_tokens) == ("end_turn", 11, 5)
    assert (found.id, found.model) == ("msg_abc", "m")


def test_cached_tokens_are_counted_apart() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 64}}
    found = message(opened().whole(whole({"content": "x"}, usage=usage)))
    assert (found.usage.input_tokens, found.usage.cache_read_input_tokens) == (36, 64)


@pytest.mark.parametrize(
    ("finish", "expected"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), (None, "end_turn")],
)
def test_why_it_stopped(finish: str, expected: str) -> None:
    assert message(opened().whole(whole({"content": "x"}, finish))).stop_reason == expected


def test_a_stop_sequence_is_named() -> None:
    reply = whole({"content": "x"}, choice={"stop_reason": "END"})
    found = message(opened(stop_sequences=["END"]).whole(reply))
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "END")


def test_a_reply_with_thoughts_and_tools() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at":"x"}'}}]
    found = message(
        opened().whole(whole({"content": None, "reasoning_content": "hmm", "tool_calls": calls}, "tool_calls"))
    )
    assert [block.type for block in found.content] == ["thinking", "tool_use"]
    assert found.content[1].input == {"at": "x"}
    assert found.stop_reason == "tool_use"


@pytest.mark.parametrize("arguments", ["", "not json", "[1]", "[" * 100_000])
def test_arguments_that_are_no_object_do_not_lose_the_reply(arguments: str) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    found = json.loads(opened().whole(whole({"content": None, "tool_calls": calls}, "tool_calls")))
    assert isinstance(found["content"][0]["input"], dict)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}]}', b'{"choices":7}', b"\xff"]
)
def test_a_reply_that_makes_no_sense_is_said_to(body: bytes) -> None:
    with pytest.raises(UntranslatableReply):
        opened().whole(body)


def test_a_stream_of_text_in_order() -> None:
    found = events(
        translated(
            opened(stream=True), stream({"role": "assistant", "content": ""}, {"content": "he"}, {"content": "llo"})
        )
    )
    assert [each["type"] for each in found] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[-2]["usage"]["output_tokens"] == 5
    assert found[-2]["delta"]["stop_reason"] == "end_turn"


def test_a_stream_of_thoughts_text_and_two_tools() -> None:
    data = stream(
        {"reasoning": "hm"},
        {"content": "so"},
        call(0, "c1", "f", ""),
        call(0, None, None, '{"a"'),
        call(0, None, None, ":1}"),
        call(1, "c2", "g", '{"b":2}'),
        finish="tool_calls",
    )
    found = events(translated(opened(stream=True), data))
    starts = [each["content_block"]["type"] for each in found if each["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use", "tool_use"]
    pieces = [
        each["delta"]["partial_json"] for each in found if each.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert pieces == ['{"a"', ":1}", '{"b":2}']
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_stream_cut_anywhere_says_the_same(size: int) -> None:
    data = stream({"content": "grüß"}, call(0, "c1", "f", '{"ü":1}')).replace(b"\n", b"\r\n")
    assert translated(opened(stream=True), data, size) == translated(opened(stream=True), data)


def test_a_stream_that_broke_off_never_looks_whole() -> None:
    with pytest.raises(UntranslatableReply):
        opened(stream=True).end()
    begun = opened(stream=True)
    begun.piece(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
    with pytest.raises(UntranslatableReply):
        begun.end()


def test_an_answer_without_words_is_still_a_message() -> None:
    types = [each["type"] for each in events(translated(opened(stream=True), b"data: [DONE]\n\n"))]
    assert (types[0], types[-1]) == ("message_start", "message_stop")
    assert "content_block_start" in types


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: \xff\n\n", b"data: <html>\n\n"])
def test_a_stream_that_makes_no_sense_is_said_to(data: bytes) -> None:
    with pytest.raises(UntranslatableReply):
        opened(stream=True).piece(data)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ('data: {"error":{"message":"too long","type":"BadRequestError","code":400}}', 400),
        ('data: {"object":"error","message":"too long","type":"BadRequestError"}', 400),
        ('data: {"error":{"message":"too long","code":429}}', 429),
        ('data: {"error":"too long"}', 502),
        ('error: {"code":503,"message":"too long"}', 503),
    ],
)
def test_an_error_within_a_stream_keeps_its_words(event: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        opened(stream=True).piece(event.encode() + b"\n\n")
    assert (caught.value.status, caught.value.message) == (status, "too long")


def test_errors_are_worded_as_anthropic_words_them() -> None:
    error = ApiError(429, "slow down", code="x", error_type="rate_limit_error")
    body = json.loads(opened().error(error))
    assert body == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    assert opened().error_event(error).startswith(b"event: error\ndata: {")


def test_tokens_are_counted_by_the_engine() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}
    counting = open_count(b"/v1/messages/count_tokens", json.dumps(asked).encode())
    assert counting.path == b"/tokenize"
    assert json.loads(counting.body)["messages"] == [{"role": "user", "content": "hi"}]
    assert json.loads(counting.whole(b'{"count":12,"tokens":[1]}')) == {"input_tokens": 12}
    assert json.loads(counting.whole(b'{"tokens":[1,2,3]}')) == {"input_tokens": 3}
    with pytest.raises(UntranslatableReply):
        counting.whole(b"{}")
