# SPDX-License-Identifier: Apache-2.0
"""Streams that break off after tokens were sent, and go on elsewhere."""

from __future__ import annotations

import json

import pytest
from gateway_support.house import House

from llm_gateway.data_path.resume import Transcript, transcript_of


def event(**fields) -> bytes:
    return b"data: " + json.dumps({"id": "a", **fields}).encode() + b"\n\n"


def chat_piece(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


def test_a_chat_is_continued_from_its_last_whole_event() -> None:
    transcript = Transcript(chat=True)
    whole = chat_piece("Hello") + chat_piece(" wor")
    assert transcript.piece(whole + b'data: {"choices": [{"del') == whole
    body = transcript.continued(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":10}')
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello wor"}],
        "max_tokens": 8,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    role = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]).replace(b'"a"', b'"b"')
    assert transcript.piece(role) == b""
    assert json.loads(transcript.piece(chat_piece("ld").replace(b'"a"', b'"b"'))[6:])["id"] == "a"
    again = json.loads(transcript.continued(body))
    assert again["messages"][-1]["content"] == "Hello world"
    assert (len(again["messages"]), again["max_tokens"]) == (2, 7)


def test_a_completion_is_continued_by_its_text() -> None:
    transcript = Transcript(chat=False)
    transcript.piece(event(choices=[{"index": 0, "text": " a"}]))
    body = transcript.continued(b'{"model":"m","prompt":"once","max_tokens":4}')
    assert json.loads(body) == {"model": "m", "prompt": "once a", "max_tokens": 3}
    transcript.piece(event(choices=[{"index": 0, "text": " b"}]))
    assert json.loads(transcript.continued(body)) == {"model": "m", "prompt": "once a b", "max_tokens": 2}


@pytest.mark.parametrize(
    "fields",
    [{"n": 2}, {"tools": [{}]}, {"logprobs": True}, {"response_format": {"type": "json_object"}}, {"prompt": [1, 2]}],
)
def test_what_cannot_be_continued_truly_is_not(fields: dict) -> None:
    body = {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}], **fields}
    assert transcript_of(b"/v1/completions", json.dumps(body).encode()) is None


def test_a_finished_or_used_up_answer_is_not_continued() -> None:
    transcript = Transcript(chat=True)
    transcript.piece(chat_piece("x") + chat_piece("y"))
    assert transcript.continued(b'{"messages":[],"max_tokens":2}') is None
    transcript = Transcript(chat=True)
    transcript.piece(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    assert transcript.continued(b'{"messages":[]}') is None


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":["x"]}',
        b'{"choices":[{"delta":[1]}]}',
        b'{"choices":"x"}',
        b'{"choices":[[1]]}',
        b"[]",
        b"[" * 9000,
        b'"\xff"',
    ],
)
def test_what_makes_no_sense_is_given_on_and_never_continued(chunk: bytes) -> None:
    transcript = Transcript(chat=True)
    told = b"data: " + chunk + b"\n\n"
    assert transcript.piece(told) == told
    assert transcript.continued(b'{"messages":[]}') is None


@pytest.mark.parametrize("size", range(1, 12))
def test_lines_may_end_as_they_like_and_be_cut_anywhere(size: int) -> None:
    told = (chat_piece("a") + chat_piece("b")).replace(b"\n", b"\r\n")
    transcript = Transcript(chat=True)
    assert b"".join([transcript.piece(told[start : start + size]) for start in range(0, len(told), size)]) == told
    continued = transcript.continued(b'{"messages":[{"role":"user","content":"x"}]}')
    assert json.loads(continued)["messages"][-1]["content"] == "ab"


@pytest.mark.parametrize("mode", ["cut", "stall"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_broken_stream_goes_on_at_another_engine(house: House, mode: str, path: str) -> None:
    bad, good = house.engine(mode=mode), house.engine()
    front = house.front(bad, good, resume=True, stall_timeout=0.3, probe_interval=0)
    house.call(setattr, bad, "health", 500)  # what tells a broken engine from a slow one
    texts = []
    for __ in range(2):
        stream = front.open_stream(path, max_tokens=6)
        events = stream.events()
        assert events[-1] == "data: [DONE]"
        choices = [json.loads(one[6:])["choices"][0] for one in events[:-1]]
        texts.append("".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices))
    assert set(texts) <= {"w0 w1 w0 w1 w2 w3 ", "w0 w1 w2 w3 w4 w5 "}
    resumed = texts.count("w0 w1 w0 w1 w2 w3 ")
    assert resumed
    continued = next(asked for asked in good.requests if asked["max_tokens"] == 4)
    if "chat" in path:
        assert continued["messages"][-1] == {"role": "assistant", "content": "w0 w1 "}
    else:
        assert continued["prompt"] == "hiw0 w1 "
    assert front.metric("resumes_total") == resumed


def test_without_resume_a_broken_stream_never_looks_whole(house: House) -> None:
    import http.client

    front = house.front(house.engine(mode="cut"))
    with pytest.raises(http.client.IncompleteRead) as cut:
        front.open_stream(max_tokens=6).events()
    assert b"engine_error" in cut.value.partial
