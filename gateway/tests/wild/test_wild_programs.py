# SPDX-License-Identifier: Apache-2.0
"""Programs that are too large to be run in tests: the shapes of their requests, as their sources write them (aider's: as it was seen), said again.

docs/compatibility.md names them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support.house import KEY
from gateway_support.told import Asked, Say, Wild, usual

SYSTEM = {"role": "system", "content": "You help."}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {"type": "function", "function": {"name": "read", "description": "", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}

# Program, path under the base URL that it is given, base URL, body. The bodies are what the programs send, but for prose.
CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "Open WebUI: a chat": (
        "/v1/chat/completions",
        {"stream": True, "model": "m", "messages": [SYSTEM, {"role": "user", "content": "hi"}]},
    ),
    "Open WebUI: a picture, parameters of the chat, usage wanted": (
        "/v1/chat/completions",
        {
            "stream": True,
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, PICTURE]}],
            "temperature": 0.8,
            "top_k": 40,
            "min_p": 0.05,
            "repeat_penalty": 1.1,
            "stream_options": {"include_usage": True},
        },
    ),
    "Open WebUI: a title": (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [{"role": "user", "content": "a title?"}],
            "stream": False,
            "max_completion_tokens": 1000,
        },
    ),
    "Open WebUI: a connection of Azure's kind": (
        "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        {"messages": [{"role": "user", "content": "hi"}], "stream": True, "model": "m"},
    ),
    "Cline": (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "<task>do</task>"}]}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [TOOL],
        },
    ),
    "Cline: a reasoning model, a tool's result": (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "You help."},
                {"role": "user", "content": "do"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "text"},
            ],
            "max_tokens": 8192,
            "reasoning_effort": "medium",
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [TOOL],
        },
    ),
    "n8n: the chat model of an agent": (
        "/v1/chat/completions",
        {
            "model": "m",
            "temperature": 0.7,
            "top_p": 1,
            "frequency_penalty": 0,
            "presence_penalty": 0,
            "n": 1,
            "stream": False,
            "messages": [SYSTEM, {"role": "user", "content": "hi"}],
            "tools": [TOOL],
            "tool_choice": "auto",
            "response_format": {"type": "text"},
        },
    ),
    "aider": (
        "/v1/chat/completions",
        {
            "stream_options": {"include_usage": True},
            "messages": [SYSTEM, {"role": "user", "content": "hi"}],
            "model": "m",
            "stream": True,
            "temperature": 0,
        },
    ),
}


@pytest.mark.parametrize("program", CHATS)
def test_a_programs_chat_is_answered_and_reaches_the_engine_as_it_came(wild: Wild, program: str) -> None:
    front, engine = wild.both()
    path, body = CHATS[program]
    reply = front.post(path, body)
    assert reply.status == 200
    text = reply.body.decode()
    assert ('"hello"' in text) if not body["stream"] else ('"he"' in text and text.endswith("data: [DONE]\n\n"))
    # Who did not ask for usage gets none, though the gateway did ask.
    wanted = "stream_options" in body or not body["stream"]
    assert ('"usage"' in text) == wanted
    got = engine.last
    got.pop("stream_options", None) if "stream_options" not in body else None
    assert got == body
    assert front.metric('tokens_total{model="m",direction="completion"}') == 3


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/openai/models?api-version=2024-10-21", "/v1/models/"])
def test_they_look_for_models_first(wild: Wild, path: str) -> None:
    front, __ = wild.both()
    headers = {
        "x_openwebui_user_name": "Ann%20A",
        "x_openwebui_user_email": "a@example.org",
        "http_referer": "https://x",
    }
    found = front.get(path, **headers).json
    assert [entry["id"] for entry in found["data"]] == ["m"]
    assert front.get(path, key=None, api_key=KEY, **headers).status == 200


def test_files_and_vectors_of_open_webui(wild: Wild) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        if asked.path.endswith("transcriptions"):
            await say.json({"text": "hallo"})
        elif asked.path.endswith("speech"):
            await say.body(b"ID3\0", "audio/mpeg")
        elif asked.path.endswith("embeddings"):
            await say.json({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "m"})
        else:
            await usual(asked, say)

    front, engine = wild.both(answer)
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n\0\1\r\n--b--\r\n'
    )
    heard = front.post("/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b")
    assert heard.json == {"text": "hallo"}
    assert engine.asked[-1].body == form
    spoken = front.post("/v1/audio/speech", {"model": "m", "input": "hi", "voice": "alloy"})
    assert (spoken.headers["content-type"], spoken.body) == ("audio/mpeg", b"ID3\0")
    vectors = front.post("/v1/embeddings", {"input": ["a"], "model": "m"}, x_openwebui_user_id="1")
    assert json.loads(vectors.body)["data"][0]["embedding"] == [0.5]


def test_n8n_may_use_responses_too(wild: Wild) -> None:
    front, engine = wild.both()
    body = {
        "model": "m",
        "input": [
            {"type": "message", "role": "system", "content": "You help."},
            {"type": "message", "role": "user", "content": "hi"},
        ],
        "tools": [{"type": "function", "name": "read", "parameters": {"type": "object"}, "strict": None}],
        "parallel_tool_calls": True,
        "stream": False,
        "text": {"format": {"type": "text"}},
    }
    assert front.post("/v1/responses", body).json["output"][0]["content"][0]["text"] == "hello"
    assert [message["role"] for message in engine.last["messages"]] == ["system", "user"]
