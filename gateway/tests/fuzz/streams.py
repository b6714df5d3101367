# SPDX-License-Identifier: Apache-2.0
"""Texts of engines that the gateway looks into: event streams, usage, errors, transcripts, model lists, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable

from gateway_support.chat import stream, whole

from fuzz.target import Target, parts, seed
from llm_gateway.data_path.resume import Transcript, transcript_of
from llm_gateway.engines.probe import load_in, models_in
from llm_gateway.errors import ApiError
from llm_gateway.protocols import UntranslatableReply, openai
from llm_gateway.protocols.sse import EventReader

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 9})
PLAIN = json.dumps({"model": "m", "prompt": "x", "stream": True, "max_tokens": 9})
COMPLETIONS = b"".join(
    b"data: %b\n\n" % json.dumps({"id": "c", "choices": [{"index": 0, "text": text}]}).encode() for text in ("a", "b")
)
SEEDS = (
    seed(stream({"role": "assistant", "content": ""}, {"content": "x"})),
    seed(COMPLETIONS + b"data: [DONE]\n\n", 1),
    seed(whole({"content": "x"})),
    seed(b'{"error":{"message":"no"}}'),
    seed(b'{"detail":[{"loc":["body",1],"msg":"wrong"}]}'),
    seed(b'{"data":[{"id":"m"}]}'),
    seed(b'vllm:num_requests_waiting{a="b"} 3\nvllm:kv_cache_usage_perc 0.5\n'),
    seed(b"\xef\xbb\xbfdata: a\r\ndata:b\r\r: c\nevent: x\n\n"),
    # Deep, in places where only a part of a document is read.
    seed(b'{"usage":{"x":' + b"[" * 1200 + b"]" * 1200 + b',"prompt_tokens":1}}'),
)
WORDS = (
    b"data: ",
    b"data:",
    b"\n\n",
    b"\r\n",
    b"\xef\xbb\xbf",
    b"[DONE]",
    b'"usage":{',
    b'"prompt_tokens":',
    b'"completion_tokens":',
    b'"choices":[',
    b'"delta":',
    b'"content":',
    b'"text":',
    b'"error":',
    b'"message":',
    b'"detail":[{"loc":',
    b'"id":',
    b'"finish_reason":"stop"',
    b"null",
    b"{}",
    b"[]",
    b"1e400",
    b"9" * 400,
    b"-1",
    b"NaN",
    b"\\ud800",
    b"vllm:num_requests_waiting ",
)


def plain_events(data: bytes) -> list[bytes]:
    """The specification, word for word, for a stream that is there as a whole."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found, lines = [], []
    *whole_lines, _rest = text.split(b"\n")
    for line in whole_lines:
        if not line:
            if lines:
                found.append(b"\n".join(lines))
            lines = []
        else:
            name, __, value = line.partition(b":")
            if name == b"data":
                lines.append(value.removeprefix(b" "))
            elif name == b"error":  # beyond the specification: llama.cpp's older servers
                lines.append(b'{"error":%b}' % value)
    return found


def events_in(payload: bytes, pieces: list[bytes]) -> None:
    """Events are the same however a stream is cut."""
    reader = EventReader()
    try:
        found = [event for piece in [*pieces, b"x"] for event in reader.feed(piece)]
    except UntranslatableReply:
        return
    assert found == plain_events(payload + b"x")


def resumed(pieces: list[bytes], *, chat: bool) -> None:
    """A transcript gives on what came; what it asks for when the engine breaks off is a request."""
    asked = (CHAT if chat else PLAIN).encode()
    path = b"/v1/chat/completions" if chat else b"/v1/completions"
    transcript = transcript_of(path, asked)
    assert isinstance(transcript, Transcript)
    given = b"".join([transcript.piece(piece) for piece in pieces])
    uncut = transcript_of(path, asked)
    assert isinstance(uncut, Transcript)
    assert given == uncut.piece(b"".join(pieces)), "what is given on depends on how the stream was cut"
    body = transcript.continued(asked)
    if body is not None:
        openai.read(body)
        given += b"".join([transcript.piece(piece) for piece in pieces])
        again = transcript.continued(body)
        assert again is None or openai.read(again).model == "m"
    assert isinstance(given + transcript.end(b"rest"), bytes)


def make() -> Callable[[bytes], None]:
    """See Target."""

    def check(data: bytes) -> None:
        choice, payload, pieces = parts(data)
        events_in(payload, pieces)
        resumed(pieces, chat=choice % 2 == 0)
        used = openai.usage_in(payload)
        assert used is None or all(0 <= count < 1 << 53 for count in used), used
        for status in (400, 404, 500):
            error = openai.from_engine(status, payload)
            assert isinstance(error, ApiError)
            json.loads(error.body())
        assert all(isinstance(model, str) for model in models_in(payload))
        queue, kv_use = load_in(payload)
        assert queue >= 0 and 0 <= kv_use <= 1

    return check


STREAMS = Target(make, SEEDS, WORDS)
