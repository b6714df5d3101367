# SPDX-License-Identifier: Apache-2.0
"""Streams as engines of several kinds send them, whole: what tests cut in every way that TCP could."""

from __future__ import annotations

import json
from typing import Any

HEAD = {"id": "chatcmpl-7c", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 4}}


def _choice(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return HEAD | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **fields}]}


def _call(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    call = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return _choice({"tool_calls": [{key: value for key, value in call.items() if value is not None}]})


def _stream(*documents: Any, end: str = "\n\n", prefix: str = "data: ", done: bool = True) -> bytes:
    lines = [prefix + json.dumps(document, ensure_ascii=False) + end for document in documents]
    return "".join([*lines, f"{prefix}[DONE]{end}" if done else ""]).encode()


_WORDS = (_choice({"role": "assistant", "content": ""}), _choice({"content": "grü"}), _choice({"content": "ß 🙂"}))
_END = _choice({}, "stop")
_TOLD = HEAD | {"choices": [], "usage": USAGE}

STREAMS: dict[str, bytes] = {
    "vLLM": _stream(
        _choice({"role": "assistant", "content": "", "reasoning": "hm"}),
        *_WORDS[1:],
        _choice({}, "stop", stop_reason="END"),
        _TOLD,
    ),
    "SGLang": _stream(
        _choice({"role": "assistant", "content": "", "reasoning_content": None}),
        *_WORDS[1:],
        _choice({"content": None}, "stop", matched_stop="END"),
        _TOLD,
    ),
    "llama.cpp": _stream(
        _choice({"role": "assistant", "content": None}),
        *_WORDS[1:],
        _END | {"usage": USAGE, "timings": {"prompt_n": 12}},
    ),
    "with lines that end as on Windows": _stream(*_WORDS, _END, _TOLD, end="\r\n\r\n"),
    "with lines that end as on old Macs": _stream(*_WORDS, _END, _TOLD, end="\r\r"),
    "with a byte order mark and comments": b"\xef\xbb\xbf: hello\n\n" + _stream(*_WORDS, _END) + b": bye\n\n",
    "without a blank after the colon": _stream(*_WORDS, _END, prefix="data:"),
    "with several lines in an event": b"".join(
        b"data: %b\n" % line for line in json.dumps(_WORDS[1], indent=1, ensure_ascii=False).encode().split(b"\n")
    )
    + b"\n"
    + _stream(_END),
    "with other fields before": b"id: 1\nevent: message\nretry: 10\n" + _stream(*_WORDS, _END),
    "without [DONE]": _stream(*_WORDS, _END, done=False),
    "without its last blank line": _stream(*_WORDS, _END)[:-1],
    "two calls": _stream(
        _call(0, "c1", "w", '{"a"'),
        _call(0, None, None, ': "ü"}'),
        _call(1, "c2", "w", "{}"),
        _choice({}, "tool_calls"),
        _TOLD,
    ),
    "Ollama's calls": _stream(
        _call(0, "c1", "w", '{"a": 1}'), _call(0, "c2", "w", '{"a": 2}'), _choice({}, "tool_calls")
    ),
    "interleaved calls": _stream(
        *(_call(0, "c1", "w", ""), _call(1, "c2", "w", ""), _call(0, None, None, '{"a":'), _call(1, None, None, "{")),
        *(_call(0, None, None, " 1}"), _call(1, None, None, "}"), _choice({}, "tool_calls")),
    ),
    "Mistral's lists": _stream(
        _choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        _choice({"content": [{"type": "text", "text": "hello"}]}),
        _END,
    ),
    "log probabilities": _stream(
        _choice({"content": "hi"}, logprobs={"content": [{"token": "hi", "logprob": -0.1}]}), _END
    ),
    "an error": _stream(_WORDS[1], {"error": {"message": "maximum context length is 9 tokens", "code": 400}}),
    "half an answer": _stream(*_WORDS, done=False),
    "half an event": _stream(*_WORDS, done=False)[:-30],
    "no JSON": _stream(_WORDS[1], done=False) + b"data: <html>\n\n",
}
TEXTS = _stream(
    {"choices": [{"index": 0, "text": "grü"}]},
    {"choices": [{"index": 0, "text": "ß", "finish_reason": "stop"}], "usage": USAGE},
)
TGI = b"".join(
    b"data:%b\n\n" % json.dumps(document, ensure_ascii=False).encode()
    for document in (
        {"token": {"id": 1, "text": "grü", "special": False}, "generated_text": None, "details": None},
        {"token": {"id": 2, "text": "ß", "special": False}, "generated_text": None},
        {
            "token": {"id": 3, "text": "", "special": True},
            "generated_text": "grüß",
            "details": {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 9},
        },
    )
)
