# SPDX-License-Identifier: Apache-2.0
"""Engines as they are: odd chunks, odd tool calls, errors in the middle, cut streams, other types. The sources stand in docs/compatibility.md."""

from __future__ import annotations

import gzip
import json
from http.client import IncompleteRead
from typing import Any

import pytest
from gateway_support.told import Asked, Say, Wild, chat, chunk, completion, events, messages, responses

ROME, OSLO = '{"city": "Rome"}', '{"city": "Oslo"}'
HELLO = {"index": 0, "delta": {"content": "hello"}, "finish_reason": None}


def piece(index: int | None = None, call_id: str = "", name: str = "", arguments: Any = None) -> dict[str, Any]:
    """A delta with a piece of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value not in ("", None)}
    said = {"index": index, "id": call_id, "type": "function", "function": function}
    return {"tool_calls": [{key: value for key, value in said.items() if value not in ("", None)}]}


CALLS = {
    "usual": [piece(0, "c1", "w"), piece(0, arguments=ROME), piece(1, "c2", "w"), piece(1, arguments=OSLO)],
    "all with index 0": [piece(0, "c1", "w", ROME), piece(0, "c2", "w", OSLO)],
    "without an index": [piece(None, "c1", "w", ROME), piece(None, "c2", "w", OSLO)],
    "without index and id": [piece(None, "", "w", ROME), piece(None, "", "w", OSLO)],
    "interleaved": [
        piece(0, "c1", "w"),
        piece(1, "c2", "w"),
        piece(0, arguments=ROME[:5]),
        piece(1, arguments=OSLO[:5]),
        piece(0, arguments=ROME[5:]),
        piece(1, arguments=OSLO[5:]),
    ],
    "id, then name, then arguments": [
        *(piece(0, "c1"), piece(0, name="w"), piece(0, arguments=ROME)),
        *(piece(1, "c2"), piece(1, name="w"), piece(1, arguments=OSLO)),
    ],
    "name first, id later": [
        piece(0, name="w"),
        piece(0, "c1", "", ROME),
        piece(1, name="w"),
        piece(1, "c2", "", OSLO),
    ],
    "an object for the arguments": [piece(0, "c1", "w", json.loads(ROME)), piece(1, "c2", "w", json.loads(OSLO))],
    "the name in each piece": [
        *(piece(0, "c1", "w"), piece(0, "c1", "w", ROME)),
        *(piece(1, "c2", "w"), piece(1, "c2", "w", OSLO)),
    ],
    "words in the midst of a call": [
        *(piece(0, "c1", "w", ROME[:4]), {"content": "so "}, piece(0, arguments=ROME[4:])),
        *({"content": "then"}, piece(1, "c2", "w", OSLO)),
    ],
}


@pytest.mark.parametrize("which", CALLS)
def test_tool_calls_come_out_whole_whatever_their_pieces(wild: Wild, which: str) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        for delta in CALLS[which]:
            await say.event(chunk(delta))
        await say.event(chunk({}, "tool_calls"))
        await say.end()

    front, __ = wild.both(answer)
    found = events(front.post("/v1/messages", messages(stream=True, tools=[{"name": "w", "input_schema": {}}])).body)
    calls: dict[int, list[str]] = {}
    for event in found:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            calls[event["index"]] = [event["content_block"]["name"], ""]
        elif event.get("delta", {}).get("type") == "input_json_delta":
            calls[event["index"]][1] += event["delta"]["partial_json"]
    expected = [("w", json.loads(ROME)), ("w", json.loads(OSLO))]
    assert [(name, json.loads(text)) for name, text in calls.values()] == expected
    tool = {"type": "function", "name": "w", "parameters": {}}
    last = events(front.post("/v1/responses", responses(stream=True, tools=[tool])).body)[-1]
    items = [item for item in last["response"]["output"] if item["type"] == "function_call"]
    assert [(item["name"], json.loads(item["arguments"])) for item in items] == expected


ODD: dict[str, Any] = {
    "choices null": {"choices": None, "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    "created float": chunk(created=1.5, choices=[HELLO]),
    "created null": chunk(created=None, choices=[HELLO]),
    "created text": chunk(created="2024", choices=[HELLO]),
    "id null": chunk(id=None, choices=[HELLO]),
    "id a number": chunk(id=7, choices=[HELLO]),
    "index null": chunk(choices=[HELLO | {"index": None}]),
    "content a list": chunk({"content": [{"type": "text", "text": "hello"}]}),
    "usage null inside": chunk(choices=[HELLO], usage={"prompt_tokens": None, "completion_tokens": None}),
    "usage floats": chunk(choices=[HELLO], usage={"prompt_tokens": 3.0, "completion_tokens": 2.5}),
    "usage empty": chunk(choices=[HELLO], usage={}),
    "usage a list inside": chunk(choices=[HELLO], usage={"prompt_tokens": 1, "prompt_tokens_details": []}),
    "usage a text": chunk(choices=[HELLO], usage="none"),
    "tool_calls null": chunk({"content": "hello", "tool_calls": None}),
    "tool_calls empty": chunk({"content": "hello", "tool_calls": []}),
    "function null": chunk({"content": "hello", "tool_calls": [{"index": 0, "function": None}]}),
    "reasoning an object": chunk({"content": "hello", "reasoning": {"text": "x"}}),
    "stop_reason a list": chunk(choices=[HELLO | {"stop_reason": [1]}]),
    "finish_reason empty": chunk(choices=[HELLO | {"finish_reason": ""}]),
    "error null": chunk(choices=[HELLO], error=None),
    "error empty": chunk(choices=[HELLO], error={}),
    "error no text": chunk(choices=[HELLO], error=""),
    "delta null": chunk(choices=[HELLO | {"delta": None}]),
    "an empty object": {},
    "a list": [],
    "nothing": b"",
}


@pytest.mark.parametrize("which", ODD)
def test_an_odd_chunk_does_not_lose_the_answer(wild: Wild, which: str) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        for document in (ODD[which], chunk({"content": "END"}), chunk({}, "stop")):
            await say.event(document)
        await say.end()

    front, engine = wild.both(answer)
    for path, body, last in (
        ("/v1/messages", messages, "message_stop"),
        ("/v1/responses", responses, "response.completed"),
    ):
        reply = front.post(path, body(stream=True))
        assert reply.status == 200
        assert events(reply.body)[-1]["type"] == last
        assert b"END" in reply.body
    assert len(engine.asked) == 2


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", messages), ("/v1/responses", responses), ("/v1/chat/completions", chat)]
)
def test_an_error_within_a_stream_keeps_its_words_and_is_asked_once(
    wild: Wild, late: bool, path: str, body: Any
) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        if late:
            await say.event(chunk({"content": "par"}))
        await say.event(
            {"error": {"message": "maximum context length is 4096 tokens", "type": "BadRequestError", "code": 400}}
        )
        await say.end()

    engines = [wild.engine(answer), wild.engine(answer)]
    reply = wild.gateway(*engines).post(path, body(stream=True))
    assert b"maximum context length" in reply.body
    assert sum(len(engine.asked) for engine in engines) == 1
    assert b"end_turn" not in reply.body and b"response.completed" not in reply.body
    if path != "/v1/chat/completions" and not late:
        assert reply.status == 400


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", messages), ("/v1/responses", responses), ("/generate_stream", None)]
)
def test_a_stream_that_ended_early_never_looks_whole(wild: Wild, path: str, body: Any) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        await say.event(chunk(choices=[HELLO | {"text": "half"}]))
        await say.end(done=False)

    front, __ = wild.both(answer, default_model="m")
    # The error comes, and then the connection breaks: nobody can take that for an end.
    with pytest.raises(IncompleteRead) as broken:
        front.post(path, {"inputs": "x"} if body is None else body(stream=True))
    said = broken.value.partial
    assert b"error" in said
    assert not any(word in said for word in (b"end_turn", b"response.completed", b'generated_text":"'))


def test_an_event_that_broke_off_is_ended_before_ours_begins(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.stream()
        await say.event(chunk({"content": "x"}))
        await say.piece(b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"del')
        raise ConnectionError

    front, __ = wild.both(answer)
    body = front.raw(_raw_chat(stream=True))
    errors = [line for line in body.split(b"\n") if line.startswith(b'data: {"error"')]
    assert len(errors) == 1


def _raw_chat(**fields: Any) -> bytes:
    body = json.dumps(chat(**fields)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"connection: close\r\n\r\n" + body


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", messages), ("/v1/responses", responses)])
def test_json_becomes_the_stream_that_was_asked_for(wild: Wild, path: str, body: Any) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": ROME}}
        await say.json(completion("hello", "tool_calls", tool_calls=[call], reasoning="hm"))

    front, __ = wild.both(answer)
    reply = front.post(path, body(stream=True))
    assert reply.headers["content-type"].startswith("text/event-stream")
    text = reply.body.decode()
    assert all(word in text for word in ("hm", "hello", "Rome"))
    assert events(reply.body)[-1]["type"] in ("message_stop", "response.completed")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("how", ["201", "gzip", "gzip, chunked"])
def test_other_good_replies_are_answers(wild: Wild, path: str, how: str) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        if how == "201":
            await say.json(completion(), 201)
            return
        body = gzip.compress(json.dumps(completion()).encode())
        if how == "gzip":
            await say.body(body, "application/json", content_encoding="gzip")
            return
        await say.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for start in range(0, len(body), 7):
            await say.piece(body[start : start + 7])
        await say.end(done=False)

    front, __ = wild.both(answer)
    reply = front.post(path, messages())
    assert (reply.status, b"hello" in reply.body) == (200, True)


def test_a_compressed_stream_is_one(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        said = b"".join(
            b"data: " + json.dumps(each).encode() + b"\n\n" for each in (chunk({"content": "hello"}), chunk({}, "stop"))
        )
        packed = gzip.compress(said)
        await say.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for start in range(0, len(packed), 5):
            await say.piece(packed[start : start + 5])
        await say.end(done=False)

    front, __ = wild.both(answer)
    assert (
        events(front.post("/v1/chat/completions", chat(stream=True)).body)[0]["choices"][0]["delta"]["content"]
        == "hello"
    )
    assert events(front.post("/v1/messages", messages(stream=True)).body)[-1]["type"] == "message_stop"


SIZE = 6 << 20


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", messages), ("/v1/responses", responses), ("/generate", None)]
)
def test_large_answers_and_events_pass_every_translation(wild: Wild, stream: bool, path: str, body: Any) -> None:
    large = "x" * SIZE

    async def answer(_asked: Asked, say: Say) -> None:
        if not stream:
            await say.json(completion(large) | {"choices": [completion(large)["choices"][0] | {"text": large}]})
            return
        await say.stream()
        await say.event(
            chunk(choices=[{"index": 0, "delta": {"content": large}, "text": large, "finish_reason": None}])
        )
        await say.event(chunk({}, "stop"))
        await say.end()

    front, __ = wild.both(answer, default_model="m")
    if body is None:
        reply = front.post("/generate_stream" if stream else path, {"inputs": "x"}, timeout=60)
    else:
        reply = front.post(path, body(stream=stream), timeout=60)
    assert reply.status == 200
    assert reply.body.count(b"x") >= SIZE


def test_bytes_that_are_no_json_come_as_the_engine_sent_them(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.body(b"RIFF\x00\x01", "audio/wav")

    front, __ = wild.both(answer)
    reply = front.post("/v1/audio/speech", {"model": "m", "input": "x", "voice": "a"})
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "audio/wav", b"RIFF\x00\x01")
    reply = front.post("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "bytes"})
    assert reply.body == b"RIFF\x00\x01"


def test_a_text_is_no_answer_to_a_chat(wild: Wild) -> None:
    async def answer(_asked: Asked, say: Say) -> None:
        await say.body(b"upstream connect error", "text/plain")

    front, __ = wild.both(answer)
    assert front.post("/v1/chat/completions", chat()).status == 502


def test_ids_of_tool_calls_come_back_as_the_engine_gave_them(wild: Wild) -> None:
    given = "functions.get_weather:0"

    async def answer(asked: Asked, say: Say) -> None:
        call = {"id": given, "type": "function", "function": {"name": "w", "arguments": ROME}}
        await say.json(
            completion(None, "tool_calls", tool_calls=[call]) if len(asked.json["messages"]) == 1 else completion()
        )

    front, engine = wild.both(answer)
    block = front.post("/v1/messages", messages()).json["content"][-1]
    assert block["type"] == "tool_use"
    assert all(letter.isalnum() or letter in "_-" for letter in block["id"])
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "rain"}]}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [block]}, result]
    front.post("/v1/messages", messages() | {"messages": turns})
    assert engine.last["messages"][1]["tool_calls"][0]["id"] == given
    assert engine.last["messages"][2]["tool_call_id"] == given
