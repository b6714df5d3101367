# SPDX-License-Identifier: Apache-2.0
"""JSON from clients and engines, said in other words: translated, or refused in the one way there is for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from gateway_support.chat import call, stream, whole

from fuzz.target import Target, parts, seed
from llm_gateway.errors import ApiError
from llm_gateway.protocols import Translation, UntranslatableReply, openai, tables

TURNS = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "x"}, {"type": "image", "source": {"type": "url", "url": "u"}}],
    },
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "y"}]}],
    },
]
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
ASKED: tuple[tuple[bytes, dict[str, Any]], ...] = (
    (
        b"/v1/messages",
        {
            "model": "m",
            "max_tokens": 5,
            "messages": TURNS,
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
            "system": "s",
        },
    ),
    (b"/v1/messages/count_tokens", {"model": "m", "messages": TURNS, "tools": [TOOL]}),
    (
        b"/v1/responses",
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
                {"type": "function_call_output", "call_id": "c", "output": "o"},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": {}}],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        },
    ),
    (b"/generate", {"inputs": "x", "parameters": {"max_new_tokens": 5, "stop": ["a"], "details": True}}),
    (b"/generate_stream", {"inputs": "x", "parameters": {"temperature": 0.5, "return_full_text": True}}),
)
ASKED_OF_ENGINES: tuple[tuple[str, bytes, dict[str, Any]], ...] = (
    ("tgi", b"/v1/completions", {"model": "m", "prompt": "x", "stop": ["a", "bc"], "max_tokens": 3, "stream": True}),
    ("tgi", b"/tokenize", {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
    ("llamacpp", b"/tokenize", {"model": "m", "prompt": "x"}),
    ("llamacpp", b"/detokenize", {"model": "m", "tokens": [1, 2]}),
    ("tgw", b"/tokenize", {"model": "m", "prompt": "x"}),
    ("tgw", b"/detokenize", {"model": "m", "tokens": [1, 2]}),
)
Opened = tuple[Callable[[bytes, bytes], Translation | None], bytes, bytes]
OPENERS: tuple[Opened, ...] = (
    *((tables.CLIENTS[path], path, json.dumps(asked).encode()) for path, asked in ASKED),
    *((tables.ENGINES[kind], path, json.dumps(asked).encode()) for kind, path, asked in ASKED_OF_ENGINES),
)
CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
TOKEN = {"token": {"id": 1, "text": "bc", "special": False}, "generated_text": None, "details": None}
LAST = TOKEN | {"generated_text": "x", "details": {"finish_reason": "length", "generated_tokens": 1}}
STREAMED = (
    stream({"content": "x"}, {"reasoning": "r"}, call(0, "c", "f", "{"), call(1, "d", "g", "}")),
    b"".join(b"data:%b\n\n" % json.dumps(one).encode() for one in (TOKEN, TOKEN, LAST)),
    b'data: {"choices":[{"index":0,"text":"x","finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n',
)
WHOLE = (
    whole({"content": "x", "tool_calls": CALLS, "reasoning": "r"}),
    b'{"choices":[{"index":0,"text":"x","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
    json.dumps(LAST).encode(),
    b'{"count":1,"tokens":[1]}',
    b'[{"id":1,"text":"x"}]',
    b'{"content":"x"}',
    b'{"text":"x"}',
)
WORDS = (
    *(b'"%b":' % name.encode() for __, asked in ASKED for name in asked),
    b'"role":"user"',
    b'"type":"tool_result"',
    b'"type":"function_call"',
    b'"type":"document","source":{"type":"content","content":',
    b'"parameters":{',
    b'"grammar":{"type":"json","value":',
    b'"finish_reason":"length"',
    b'"tool_calls":[{"index":0,"function":{"arguments":',
    b'"stop_reason":"a"',
    b'"error":',
    b'"usage":{"completion_tokens":',
    b'"prompt_tokens_details":{"cached_tokens":',
    b'"token":{"id":1,"text":"a"}',
    b'"details":{"finish_reason":"eos_token"}',
    b"data: ",
    b"\n\n",
    b"[DONE]",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b"1e400",
    b"9" * 400,
    b"-1",
    b"0.5",
    b"\\ud800",
    b"\\u0000",
    b"\xff",
    b"[" * 1200,
)


def read(body: bytes) -> None:
    """OpenAI's own words: what the data path makes of them, or 400."""
    try:
        asked = openai.read(body)
    except ApiError as refused:
        assert refused.status == 400
        json.loads(refused.body())
        return
    assert all(
        count is None or abs(count) < 1 << 63 for count in (asked.max_tokens, asked.max_completion_tokens, asked.n)
    )
    assert len(openai.content(asked)) <= len(body)
    asked.user_bytes()
    again = openai.read(openai.with_model(body, "other"))
    assert (again.model, again.stream, again.max_tokens) == ("other", asked.stream, asked.max_tokens)


def make_requests() -> Callable[[bytes], None]:
    """See Target."""

    def check(data: bytes) -> None:
        choice, payload, __ = parts(data)
        read(payload)
        opener, path, __ = OPENERS[choice % len(OPENERS)]
        try:
            found = opener(path, payload)
        except ApiError as refused:
            assert refused.status == 400
            json.loads(refused.body())
            json.loads(tables.error_body(path, refused))
            return
        if found is not None:
            if path in tables.CLIENTS:
                read(found.body)
            assert isinstance(msgspec.json.decode(found.body), dict)

    return check


def said(opened: Opened, pieces: list[bytes]) -> bytes | None:
    """A streamed reply, said back; None where it makes no sense, or is an error."""
    opener, path, body = opened
    translation = opener(path, body)
    assert translation is not None
    try:
        return b"".join([translation.piece(piece) for piece in pieces if piece]) + translation.end()
    except (ApiError, UntranslatableReply):
        return None


def make_replies() -> Callable[[bytes], None]:
    """See Target."""

    def check(data: bytes) -> None:
        choice, payload, pieces = parts(data)
        opened = OPENERS[choice % len(OPENERS)]
        opener, path, body = opened
        translation = opener(path, body)
        assert translation is not None
        with suppress(ApiError, UntranslatableReply):
            json.loads(translation.whole(payload))
        found = said(opened, pieces)
        assert found == said(opened, [payload]), "what is said depends on how the stream was cut"
        for line in (found or b"").split(b"\n"):
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                json.loads(line[5:])

    return check


REQUESTS = Target(
    make_requests,
    tuple(seed(body, number) for number, (__, __, body) in enumerate(OPENERS)),
    WORDS,
)
REPLIES = Target(
    make_replies,
    tuple(
        seed(text, number) for number in range(len(OPENERS)) for text in (*STREAMED[:2], *WHOLE[:1])[number % 3 :][:1]
    )
    + tuple(seed(text, 0) for text in WHOLE)
    + tuple(seed(text, number) for text, number in zip(STREAMED, (2, 5, 3), strict=True)),
    WORDS,
)
