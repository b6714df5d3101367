# SPDX-License-Identifier: Apache-2.0
"""Agents as they are: what Codex, Claude Code and others send besides plain questions. The sources stand in docs/compatibility.md."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support.told import Asked, Say, Wild, chunk, completion, events, messages, responses, usual

SHELL = {"type": "function", "name": "shell", "parameters": {"type": "object", "properties": {}}, "strict": False}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "d",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
USER = {"role": "user", "content": "go"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "w", "input": {}}]}


async def strict(asked: Asked, say: Say) -> None:
    """An engine as strict as reports say engines are."""
    said = asked.json
    wrong = ""
    if any(message["role"] == "system" for message in said["messages"][1:]):
        wrong = "System message must be at the beginning."
    elif said.get("reasoning_effort") not in (None, "low", "medium", "high"):
        wrong = "reasoning_effort: Input should be 'low', 'medium' or 'high'"
    elif (said.get("max_tokens") or 0) > 4000:
        wrong = "'max_tokens' is too large: 32000. This model's maximum context length is 4096 tokens and your request has 50 input tokens"
    elif "thinking_token_budget" in said:
        wrong = "thinking_token_budget is set but reasoning_config is not configured"
    if wrong:
        await say.json({"error": {"message": wrong, "type": "BadRequestError", "code": 400}}, 400)
        return
    await usual(asked, say)


# --- the Responses API


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "image_generation"},
        {"type": "tool_search"},
        {"type": "mcp", "server_label": "x"},
        PATCH,
        {"type": "local_shell"},
        {"type": "namespace", "name": "mcp", "tools": [SHELL]},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
    ],
)
def test_a_tool_that_is_no_function_never_refuses_the_request(wild: Wild, tool: dict[str, Any]) -> None:
    front, engine = wild.both(strict)
    reply = front.post("/v1/responses", responses(tools=[SHELL, tool], tool_choice="auto", parallel_tool_calls=False))
    assert reply.status == 200
    served = tool["type"] in ("web_search", "image_generation", "mcp") or tool == {"type": "tool_search"}
    assert reply.headers.get("x-llm-gateway-left-out", "") == (tool["type"] if served else "")
    assert len(engine.last["tools"]) == (1 if served else 2)


CLIENT_TOOLS = [
    (PATCH, "apply_patch", '{"input": "*** Begin Patch"}', {"type": "custom_tool_call", "input": "*** Begin Patch"}),
    ({"type": "local_shell"}, "local_shell", '{"command": ["ls"]}', {"type": "local_shell_call"}),
    ({"type": "shell"}, "shell", '{"commands": ["ls"]}', {"type": "shell_call", "action": {"commands": ["ls"]}}),
    ({"type": "namespace", "name": "mcp", "tools": [SHELL]}, "mcp__shell", "{}", {"name": "shell", "namespace": "mcp"}),
]


@pytest.mark.parametrize(("tool", "name", "arguments", "expected"), CLIENT_TOOLS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_comes_back_as_the_client_knows_it_and_so_does_its_history(
    wild: Wild, stream: bool, tool: dict[str, Any], name: str, arguments: str, expected: dict[str, Any]
) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
        if not asked.json.get("stream"):
            await say.json(completion(None, "tool_calls", tool_calls=[call]))
            return
        await say.stream()
        await say.event(chunk({"tool_calls": [call]}))
        await say.event(chunk({}, "tool_calls"))
        await say.end()

    front, engine = wild.both(answer)
    reply = front.post("/v1/responses", responses(tools=[tool], stream=stream))
    output = events(reply.body)[-1]["response"]["output"] if stream else reply.json["output"]
    item = output[-1]
    assert {key: item.get(key) for key in expected} == expected
    assert item["call_id"] == "c1"
    kind = item["type"].removesuffix("_call") + "_call_output"
    result = {"type": kind, "call_id": "c1", "output": "done"}
    front.post("/v1/responses", responses([{"role": "user", "content": "go"}, item, result], tools=[tool]))
    __, turn, told = engine.last["messages"]
    function = turn["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == (name, json.loads(arguments))
    assert told == {"role": "tool", "tool_call_id": "c1", "content": "done"}


def test_systems_and_developers_become_what_chat_templates_take(wild: Wild) -> None:
    front, engine = wild.both(strict)
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "developer", "content": "one word"},
        {"role": "user", "content": "go"},
    ]
    assert front.post("/v1/responses", responses(items, instructions="be brief")).status == 200
    assert engine.last["messages"] == [
        {"role": "system", "content": "be brief\n\nrules"},
        {"role": "user", "content": "hi\none word\ngo"},
    ]
    turns = [USER, {"role": "system", "content": "note"}, USER]
    assert front.post("/v1/messages", messages(system="s") | {"messages": turns}).status == 200
    assert [message["role"] for message in engine.last["messages"]] == ["system", "user"]


HISTORIES: dict[str, list[dict[str, Any]]] = {
    "a picture of a tool": [
        {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}],
        },
    ],
    "a custom call": [
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
    ],
    "a search of another provider": [
        {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "x"}},
    ],
    "a picture of another provider": [
        {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "AA"}
    ],
    "tools that were found": [
        {"type": "tool_search_call", "call_id": "c3", "arguments": {"query": "x"}, "execution": "client"},
        {"type": "tool_search_output", "call_id": "c3", "tools": [SHELL | {"name": "found"}]},
    ],
}


@pytest.mark.parametrize("which", HISTORIES)
def test_a_history_of_another_provider_can_be_gone_on_with(wild: Wild, which: str) -> None:
    front, engine = wild.both(strict)
    items = [{"role": "user", "content": "go"}, *HISTORIES[which], {"role": "user", "content": "and?"}]
    assert front.post("/v1/responses", responses(items)).status == 200
    roles = [message["role"] for message in engine.last["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
    if which == "tools that were found":
        assert engine.last["tools"][0]["function"]["name"] == "found"
    if "picture" in which:
        assert "data:image/png;base64,AA" in json.dumps(engine.last["messages"][-1])


def test_thoughts_of_earlier_turns_reach_the_engine(wild: Wild) -> None:
    front, engine = wild.both(strict)
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "I think so"}],
    }
    call = {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "done"}
    front.post("/v1/responses", responses([{"role": "user", "content": "go"}, thought, call, result]))
    turn = engine.last["messages"][1]
    assert turn["reasoning"] == turn["reasoning_content"] == "I think so"
    assert turn["tool_calls"][0]["id"] == "c1"


def test_allowed_tools_leave_the_others_out(wild: Wild) -> None:
    front, engine = wild.both(strict)
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "shell"}]}
    assert front.post("/v1/responses", responses(tools=[SHELL, PATCH], tool_choice=choice)).status == 200
    assert engine.last["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in engine.last["tools"]] == ["shell"]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_back(wild: Wild, stream: bool) -> None:
    token = {"token": "hello", "logprob": -0.1, "bytes": [104], "top_logprobs": []}

    async def answer(asked: Asked, say: Say) -> None:
        if not stream:
            whole = completion()
            whole["choices"][0]["logprobs"] = {"content": [token]}
            await say.json(whole)
            return
        await say.stream()
        await say.event(chunk(choices=[{"index": 0, "delta": {"content": "hello"}, "logprobs": {"content": [token]}}]))
        await say.event(chunk({}, "stop"))
        await say.end()

    front, engine = wild.both(answer)
    reply = front.post("/v1/responses", responses(stream=stream, top_logprobs=2))
    response = events(reply.body)[-1]["response"] if stream else reply.json
    assert response["output"][0]["content"][0]["logprobs"] == [token]
    assert (engine.last["logprobs"], engine.last["top_logprobs"]) == (True, 2)


# --- the Messages API


@pytest.mark.parametrize("effort", ["low", "high", "xhigh", "max"])
def test_any_effort_is_one_that_engines_know(wild: Wild, effort: str) -> None:
    front, engine = wild.both(strict)
    assert front.post("/v1/messages", messages(output_config={"effort": effort})).status == 200
    assert engine.last["reasoning_effort"] in ("low", "high")
    assert front.post("/v1/responses", responses(reasoning={"effort": effort})).status == 200


def test_more_tokens_than_the_context_holds_are_cut_to_it(wild: Wild) -> None:
    front, engine = wild.both(strict)
    reply = front.post("/v1/messages", messages() | {"max_tokens": 32000})
    assert reply.status == 200
    assert 3000 < engine.last["max_tokens"] <= 4000


LENGTHS = {
    "vLLM": "This model's maximum context length is 4096 tokens. However, you requested 32050 tokens (50 in the messages, 32000 in the completion).",
    "vLLM of late": "This model's maximum context length is 4096 tokens. However, you requested 32000 output tokens "
    "and your prompt contains at least 50 input tokens",
    "SGLang": "Requested token count exceeds the model's maximum context length of 4096 tokens. "
    "You requested a total of 32050 tokens: 50 tokens from the input messages and 32000 tokens for the completion.",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 50 `inputs` tokens and 32000 `max_new_tokens`",
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_every_engines_words_for_too_much_are_understood(wild: Wild, kind: str) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        if asked.json["max_tokens"] > 4046:
            await say.json({"error": {"message": LENGTHS[kind]}}, 400)
        else:
            await usual(asked, say)

    front, engine = wild.both(answer)
    assert front.post("/v1/messages", messages() | {"max_tokens": 32000}).status == 200
    assert engine.last["max_tokens"] == 4046


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
        "This model's maximum context length is 4096 tokens. However, your request has 9000 input tokens.",
        "request (9000 tokens) exceeds the available context size (4096 tokens)",
        "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
    ],
)
def test_a_prompt_that_is_too_long_is_said_so_that_claude_code_shortens_it(wild: Wild, said: str) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.json({"error": {"message": said, "code": 400}}, 400)

    front, engine = wild.both(answer)
    reply = front.post("/v1/messages", messages())
    assert reply.status == 400
    assert reply.json["error"]["message"].startswith("prompt is too long: 9000 tokens > 4096 maximum")
    assert len(engine.asked) == 1


def test_a_thinking_budget_reaches_the_engine_or_is_left_away(wild: Wild) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    front, engine = wild.both()
    front.post("/v1/messages", messages(thinking=thinking))
    assert engine.last["thinking_token_budget"] == engine.last["chat_template_kwargs"]["thinking_budget"] == 1024
    front, engine = wild.both(strict)
    assert front.post("/v1/messages", messages(thinking=thinking)).status == 200
    assert "thinking_token_budget" not in engine.last


@pytest.mark.parametrize("place", ["output_format", "output_config"])
def test_a_wanted_shape_is_passed_on(wild: Wild, place: str) -> None:
    front, engine = wild.both()
    wanted: Any = {"type": "json_schema", "schema": SCHEMA}
    front.post("/v1/messages", messages(**{place: wanted if place == "output_format" else {"format": wanted}}))
    assert engine.last["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("tool", "kept"),
    [
        ({"type": "web_search_20250305", "name": "web_search", "max_uses": 8}, False),
        ({"type": "code_execution_20250825", "name": "code_execution"}, False),
        ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}, True),
        ({"type": "bash_20250124", "name": "bash"}, True),
        ({"type": "memory_20250818", "name": "memory"}, True),
    ],
)
def test_tools_that_clients_run_are_functions_and_the_others_left_out(
    wild: Wild, tool: dict[str, Any], kept: bool
) -> None:
    front, engine = wild.both()
    own = {"name": "w", "input_schema": SCHEMA, "strict": True}
    reply = front.post("/v1/messages", messages(tools=[own, tool]))
    assert reply.status == 200
    assert [each["function"]["name"] for each in engine.last["tools"]] == (["w", tool["name"]] if kept else ["w"])
    assert engine.last["tools"][0]["function"]["strict"] is True
    assert reply.headers.get("x-llm-gateway-left-out") == (None if kept else tool["type"])


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"content": None},
        {"content": "x", "is_error": True, "cache_control": {"type": "ephemeral"}},
        {"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]},
        {"content": [{"type": "tool_reference", "tool_name": "w"}]},
        {
            "content": [
                {
                    "type": "search_result",
                    "source": "https://x",
                    "title": "t",
                    "content": [{"type": "text", "text": "r"}],
                }
            ]
        },
    ],
)
def test_any_result_of_a_tool_is_told(wild: Wild, result: dict[str, Any]) -> None:
    front, engine = wild.both(strict)
    turn = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", **result}, {"type": "text", "text": "and"}],
    }
    assert front.post("/v1/messages", messages() | {"messages": [USER, CALL, turn]}).status == 200
    assert [message["role"] for message in engine.last["messages"]] == ["user", "assistant", "tool", "user"]


def test_tools_that_another_provider_ran_are_told_as_tools(wild: Wild) -> None:
    front, engine = wild.both(strict)
    found = [{"type": "web_search_result", "title": "t", "url": "https://x", "encrypted_content": "e" * 500}]
    blocks = [
        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "x", "content": found},
        {"type": "text", "text": "found"},
    ]
    turns = [USER, {"role": "assistant", "content": blocks}, USER]
    assert front.post("/v1/messages", messages() | {"messages": turns}).status == 200
    said = engine.last["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "assistant", "user"]
    assert "https://x" in said[2]["content"] and "eeee" not in said[2]["content"]


def test_documents_of_pages_are_refused_by_name(wild: Wild) -> None:
    front, __ = wild.both()
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    reply = front.post("/v1/messages", messages([{"type": "document", "source": source}]))
    assert reply.status == 400
    assert "application/pdf" in reply.json["error"]["message"]


def test_sglang_names_the_sequence_that_it_came_to(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        whole = completion("abc")
        whole["choices"][0]["matched_stop"] = "###"
        await say.json(whole)

    front, __ = wild.both(answer)
    reply = front.post("/v1/messages", messages(stop_sequences=["###"])).json
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "###")


def test_tokens_are_estimated_where_an_engine_cannot_count(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.json({"detail": "Not Found"}, 404)

    front, __ = wild.both(answer)
    reply = front.post(
        "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "word " * 100}]}
    )
    assert reply.status == 200
    assert 80 < reply.json["input_tokens"] < 200


def test_the_line_that_changes_with_every_request_does_not_reach_the_engine(wild: Wild) -> None:
    front, engine = wild.both()
    system = [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "be kind"}]
    front.post("/v1/messages", messages(system=system))
    assert engine.last["messages"][0] == {"role": "system", "content": "be kind"}


def test_an_answer_that_the_client_began_is_gone_on_with(wild: Wild) -> None:
    front, engine = wild.both()
    front.post("/v1/messages", messages() | {"messages": [USER, {"role": "assistant", "content": "{"}]})
    assert (engine.last["continue_final_message"], engine.last["add_generation_prompt"]) == (True, False)


def test_half_a_surrogate_pair_is_no_reason_to_refuse(wild: Wild) -> None:
    front, engine = wild.both()
    body = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x\\ud83d y \\ud83d\\ude00"}]}'
    assert front.post("/v1/messages", body).status == 200
    assert engine.last["messages"][0]["content"] == "x\ufffd y \U0001f600"
