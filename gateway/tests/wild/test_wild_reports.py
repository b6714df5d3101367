# SPDX-License-Identifier: Apache-2.0
"""Public reports that were searched out and tried: one test each, named in docs/compatibility.md."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support.told import Asked, Say, Wild, chat, chunk, events, messages, responses, usual

TOOL = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}


async def call_without_arguments(asked: Asked, say: Say) -> None:
    """A tool that takes nothing, called with nothing: pieces with empty and null arguments."""
    if any(message["role"] == "tool" for message in asked.json["messages"]):
        await usual(asked, say)
        return
    await say.stream()
    for arguments in ("", None, ""):
        function = {"name": "now", "arguments": arguments} if arguments == "" else {"arguments": arguments}
        await say.event(chunk({"content": None, "tool_calls": [{"index": 0, "id": "c1", "function": function}]}))
    await say.event(chunk({}, "tool_calls"))
    await say.end()


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_agentgateway_3002_a_call_without_arguments_does_not_poison_the_history(wild: Wild, path: str) -> None:
    front, engine = wild.both(call_without_arguments)
    if path == "/v1/messages":
        found = events(front.post(path, messages(stream=True, tools=[{"name": "now", "input_schema": {}}])).body)
        block = next(
            event["content_block"] for event in found if event.get("content_block", {}).get("type") == "tool_use"
        )
        assert found[-2]["delta"]["stop_reason"] == "tool_use"
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "noon"}]}
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block]}, result]
        front.post(path, messages() | {"messages": turns})
    else:
        item = events(front.post(path, responses(stream=True, tools=[TOOL])).body)[-1]["response"]["output"][0]
        assert item["arguments"] == "{}"
        output = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
        front.post(path, responses([{"role": "user", "content": "hi"}, item | {"arguments": ""}, output]))
    assert engine.last["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", messages), ("/v1/responses", responses)])
def test_gpustack_5137_an_engine_that_knows_no_stream_options_is_asked_without(
    wild: Wild, path: str, body: Any
) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        if "stream_options" in asked.json:
            await say.json({"detail": "Unsupported parameter: stream_options"}, 400)
        else:
            await usual(asked, say)

    front, engine = wild.both(answer)
    assert b"hello" in front.post(path, body()).body
    reply = front.post(path, body(stream=True))
    assert reply.status == 200
    assert events(reply.body)[-1]["type"] in ("message_stop", "response.completed")
    assert len(engine.asked) == 3


def test_vllm_56285_items_have_one_identity_in_all_events(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        call = {"index": 0, "id": "c1", "function": {"name": "now", "arguments": "{}"}}
        for delta in ({"reasoning": "hm"}, {"content": "so"}, {"tool_calls": [call]}):
            await say.event(chunk(delta))
        await say.event(chunk({}, "tool_calls"))
        await say.end()

    front, __ = wild.both(answer)
    found = events(front.post("/v1/responses", responses(stream=True, tools=[TOOL])).body)
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"]
    added = [event["item"]["id"] for event in found if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in done]
    assert len(set(added)) == 3


def test_sglang_33633_a_tools_output_may_be_a_list(wild: Wild) -> None:
    front, engine = wild.both()
    call = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "noon"}]}
    asked = responses([{"role": "user", "content": "hi"}, call, output], reasoning={"effort": "max"}, stream=True)
    reply = front.post("/v1/responses", asked)
    assert events(reply.body)[-1]["type"] == "response.completed"
    assert engine.last["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": "noon"}


def test_litellm_37711_null_content_reaches_the_engine(wild: Wild) -> None:
    front, engine = wild.both()
    turn = {"role": "assistant", "content": None, "tool_calls": []}
    front.post("/v1/chat/completions", chat() | {"messages": [{"role": "user", "content": "hi"}, turn]})
    assert engine.last["messages"][1] == turn


def test_cline_14351_an_unknown_field_is_passed_on_and_its_refusal_said(wild: Wild) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        assert asked.json["reasoning"] == {"enabled": False}
        await say.json({"error": {"message": "Unsupported parameter(s): `reasoning`"}}, 400)

    front, __ = wild.both(answer)
    reply = front.post("/v1/chat/completions", chat(reasoning={"enabled": False}))
    assert (reply.status, reply.json["error"]["message"]) == (400, "Unsupported parameter(s): `reasoning`")


@pytest.mark.parametrize("plain", [False, True])
def test_claude_code_68900_the_billing_line_does_not_change_the_prompt(wild: Wild, plain: bool) -> None:
    front, engine = wild.both()
    prompts = []
    for nonce in ("36ee5", "0aaa9"):
        line = f"x-anthropic-billing-header: cc_version=2.1; cch={nonce};"
        blocks = [{"type": "text", "text": line}, {"type": "text", "text": "You help."}]
        front.post("/v1/messages", messages(system=f"{line}\nYou help." if plain else blocks))
        prompts.append(json.dumps(engine.last["messages"]))
    assert prompts[0] == prompts[1]
    assert "You help." in prompts[0]


def test_ai_gateway_2098_thoughts_and_pictures_are_not_lost(wild: Wild) -> None:
    front, engine = wild.both()
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    turns = [
        {"role": "user", "content": [picture, {"type": "text", "text": "what"}]},
        {
            "role": "assistant",
            "content": [thought, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}],
        },
        {"role": "user", "content": "and"},
    ]
    front.post("/v1/messages", messages(thinking={"type": "enabled", "budget_tokens": 1024}) | {"messages": turns})
    said = engine.last["messages"]
    assert said[0]["content"][0]["image_url"]["url"] == "data:image/png;base64,AA"
    assert (said[1]["reasoning_content"], said[1]["content"]) == ("hm", "a")


def test_litellm_11236_an_error_before_the_first_token_has_its_own_status(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        await say.event({"error": {"message": "too long", "code": 400}})
        await say.end()

    front, __ = wild.both(answer)
    assert front.post("/v1/messages", messages(stream=True)).status == 400
    assert front.post("/v1/responses", responses(stream=True)).status == 400
