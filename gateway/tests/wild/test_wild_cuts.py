# SPDX-License-Identifier: Apache-2.0
"""Any cut of the bytes is the same stream: each one, cut at every position and byte by byte, through every translation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from gateway_support import streams

from llm_gateway.errors import ApiError
from llm_gateway.protocols import Translation, UntranslatableReply, tables

TOOL = {"name": "w", "input_schema": {}}
FUNCTION = {"type": "function", "name": "w", "parameters": {}}
ASKED: dict[bytes, dict[str, Any]] = {
    b"/v1/messages": {
        "model": "m",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [TOOL],
        "stop_sequences": ["END"],
    },
    b"/v1/responses": {"model": "m", "input": "hi", "stream": True, "tools": [FUNCTION], "top_logprobs": 1},
    b"/generate_stream": {"inputs": "hi", "parameters": {"stop": ["END"], "details": True}},
}
COMPLETION = {"model": "m", "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}}


def told(opened: Callable[[], Translation | None], pieces: list[bytes]) -> tuple[bytes, str]:
    """All that a client is told, and how it ended."""
    translation = opened()
    assert translation is not None
    said: list[bytes] = []
    try:
        for piece in pieces:
            said.append(translation.piece(piece))
        said.append(translation.end())
    except (ApiError, UntranslatableReply) as error:
        return b"".join(said), str(error)
    return b"".join(said), ""


def same_however_cut(opened: Callable[[], Translation | None], data: bytes) -> tuple[bytes, str]:
    """What is told of a stream, after all cuts have been found to tell the same."""
    whole, end = told(opened, [data])
    ways = [[data[:at], data[at:]] for at in range(len(data) + 1)]
    ways.append([data[at : at + 1] for at in range(len(data))])
    for pieces in ways:
        said, how = told(opened, pieces)
        # Where a stream fails in its midst, what was told before depends on where it was cut: but it is a beginning of the same.
        assert how == end
        assert said == whole if not end else (said.startswith(whole) or whole.startswith(said))
    return whole, end


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("which", streams.STREAMS)
def test_a_chat_is_told_the_same_however_it_is_cut(path: bytes, which: str) -> None:
    body = json.dumps(ASKED[path]).encode()
    said, end = same_however_cut(lambda: tables.CLIENTS[path](path, body), streams.STREAMS[which])
    assert bool(end) == (which in ("an error", "half an answer", "half an event", "no JSON"))
    if not end and path != b"/generate_stream" and "calls" not in which:
        assert said.count(b"event: message_stop" if path == b"/v1/messages" else b"event: response.completed") == 1


def test_texts_are_told_the_same_however_they_are_cut() -> None:
    body = json.dumps(ASKED[b"/generate_stream"]).encode()
    said, end = same_however_cut(lambda: tables.CLIENTS[b"/generate_stream"](b"/generate_stream", body), streams.TEXTS)
    assert not end
    assert '"generated_text":"grüß"'.encode() in said


def test_tgi_is_told_the_same_however_it_is_cut() -> None:
    body = json.dumps(COMPLETION).encode()
    said, end = same_however_cut(lambda: tables.ENGINES["tgi"](b"/v1/completions", body), streams.TGI)
    assert not end
    assert b'"completion_tokens":3' in said and b"[DONE]" in said
