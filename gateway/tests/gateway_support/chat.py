# SPDX-License-Identifier: Apache-2.0
"""Chat completions as engines send them, for tests of translations."""

from __future__ import annotations

import json
from typing import Any


def whole(message: dict[str, Any], finish: str = "stop", **fields: Any) -> bytes:
    """A whole reply."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
        **fields.pop("choice", {}),
    }
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    document = {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(document | fields).encode()


def stream(*deltas: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = None) -> bytes:
    """A streamed reply."""
    head = {"id": "chatcmpl-abc", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    chunks = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    counted = usage or {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    chunks.append(head | {"choices": [], "usage": counted})
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def call(index: int, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """A delta with a piece of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "function": function} | ({"id": call_id} if call_id else {})]}


def events(data: bytes) -> list[dict[str, Any]]:
    """The JSON of all events."""
    lines = [line for line in data.decode().split("\n") if line.startswith("data:")]
    return [json.loads(line[5:]) for line in lines if line[5:].strip() != "[DONE]"]


def translated(translation: Any, data: bytes, size: int = 1 << 20) -> bytes:
    """A stream through a translation, in pieces of this size."""
    pieces = [translation.piece(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(pieces) + translation.end()
