# SPDX-License-Identifier: Apache-2.0
"""Text Generation Inference: its clients before any engine, itself as an engine; and the tokenizers of other engines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support.chat import events, translated

from llm_gateway.errors import ApiError
from llm_gateway.protocols import UntranslatableReply
from llm_gateway.protocols.tgi import open_engine, open_generate
from llm_gateway.protocols.tokens import open_llamacpp, open_tgw


def opened(path: bytes = b"/generate", **fields: Any) -> Any:
    return open_generate(path, json.dumps({"inputs": "hi", **fields}).encode())


def said(**fields: Any) -> Any:
    return json.loads(opened(**fields).body)


def completion(text: str, finish: str = "stop") -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": finish}], "usage": usage}).encode()


def completion_stream(*texts: str) -> bytes:
    chunks: list[Any] = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in texts]
    chunks.append({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def test_a_request_without_sampling_is_greedy() -> None:
    assert said() == {"model": "", "prompt": "hi", "max_tokens": 100, "temperature": 0}


def test_parameters_get_their_other_names() -> None:
    parameters = {
        "max_new_tokens": 5,
        "temperature": 0.7,
        "top_k": 3,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 4,
        "repetition_penalty": 1.1,
    }
    found = said(parameters=parameters | {"adapter_id": "lora"})
    parameters["max_tokens"] = parameters.pop("max_new_tokens")
    assert found == {"model": "lora", "prompt": "hi", **parameters}


def test_sampling_without_a_temperature_leaves_it_to_the_engine() -> None:
    assert "temperature" not in said(parameters={"do_sample": True})


def test_a_grammar_becomes_a_schema() -> None:
    found = said(parameters={"grammar": {"type": "json", "value": {"type": "object"}}})
    assert found["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    "parameters", [{"best_of": 2}, {"max_new_tokens": 0}, {"grammar": {"type": "regex", "value": "a"}}]
)
def test_what_cannot_be_is_a_400(parameters: Any) -> None:
    with pytest.raises(ApiError) as caught:
        opened(parameters=parameters)
    assert caught.value.status == 400


def test_a_whole_reply_with_and_without_details() -> None:
    assert json.loads(opened().whole(completion("yes"))) == {"generated_text": "yes"}
    found = json.loads(
        opened(parameters={"details": True, "return_full_text": True}).whole(completion("yes", "length"))
    )
    assert found["generated_text"] == "hiyes"
    assert (found["details"]["finish_reason"], found["details"]["generated_tokens"]) == ("length", 2)


def test_a_stream_ends_with_the_whole_text() -> None:
    stream = opened(b"/generate_stream")
    assert json.loads(stream.body)["stream"] is True
    found = events(translated(stream, completion_stream("a", "b"), 9))
    assert [each["token"]["text"] for each in found] == ["a", "b", ""]
    assert [each["generated_text"] for each in found] == [None, None, "ab"]
    assert found[-1]["token"]["special"] is True
    assert found[-1]["details"]["finish_reason"] == "length"


def test_errors_are_worded_as_tgi_words_them() -> None:
    assert json.loads(opened().error(ApiError(429, "full"))) == {"error": "full", "error_type": "overloaded"}
    assert json.loads(opened().error(ApiError(502, "broke")))["error_type"] == "generation"


# --- TGI as an engine


def engine(path: bytes = b"/v1/completions", **fields: Any) -> Any:
    return open_engine(path, json.dumps({"model": "m", **fields}).encode())


def parameters(**fields: Any) -> Any:
    return json.loads(engine(prompt="hi", **fields).body)["parameters"]


def test_a_completion_becomes_a_generation() -> None:
    found = engine(prompt="hi", max_tokens=7, stop="END", seed=1)
    assert found.path == b"/generate"
    expected = {"max_new_tokens": 7, "details": True, "do_sample": True, "stop": ["END"], "seed": 1}
    assert json.loads(found.body) == {"inputs": "hi", "parameters": expected}


def test_values_that_tgi_refuses_are_left_out() -> None:
    assert parameters(temperature=0, top_p=0.5) == {"max_new_tokens": 16, "details": True, "do_sample": False}
    assert "top_p" not in parameters(top_p=1.0)
    assert "top_k" not in parameters(top_k=-1)


@pytest.mark.parametrize(
    "fields",
    [{"prompt": ["a", "b"]}, {"prompt": "a", "n": 2}, {"prompt": "a", "echo": True}, {"prompt": "a", "logprobs": 1}],
)
def test_what_generate_cannot_do_goes_as_it_is(fields: Any) -> None:
    assert engine(**fields) is None
    assert engine(b"/v1/chat/completions", messages=[]) is None


def test_a_generation_becomes_a_completion_without_its_stop_sequence() -> None:
    reply = {
        "generated_text": "one END",
        "details": {"finish_reason": "stop_sequence", "generated_tokens": 2, "prefill": [{}, {}, {}]},
    }
    found = json.loads(engine(prompt="hi", stop=[" END"]).whole(json.dumps(reply).encode()))
    assert found["choices"][0] == {"index": 0, "text": "one", "logprobs": None, "finish_reason": "stop"}
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert found["object"] == "text_completion"


def generated(*texts: str, finish: str = "length") -> bytes:
    tokens = [
        {"index": n, "token": {"id": n, "text": text, "special": False}, "generated_text": None}
        for n, text in enumerate(texts)
    ]
    tokens[-1] |= {
        "generated_text": "".join(texts),
        "details": {"finish_reason": finish, "generated_tokens": len(texts), "input_length": 4},
    }
    return b"".join(b"data:%b\n\n" % json.dumps(token).encode() for token in tokens)


def test_a_stream_of_tokens_becomes_chunks() -> None:
    stream = engine(prompt="hi", stream=True, stream_options={"include_usage": True})
    assert stream.path == b"/generate_stream"
    data = translated(stream, generated("a", "b"), 11)
    assert data.endswith(b"data: [DONE]\n\n")
    found = events(data)
    assert [choice["text"] for each in found for choice in each["choices"]] == ["a", "b", ""]
    assert found[-2]["choices"][0]["finish_reason"] == "length"
    assert found[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


@pytest.mark.parametrize("texts", [("one", " E", "ND"), ("one END",), ("on", "e EN", "D")])
def test_a_stop_sequence_never_shows_in_a_stream(texts: tuple[str, ...]) -> None:
    stream = engine(prompt="hi", stream=True, stop=[" END"])
    found = events(translated(stream, generated(*texts, finish="stop_sequence")))
    assert "".join(choice["text"] for each in found for choice in each["choices"]) == "one"


def test_what_only_looked_like_a_stop_sequence_shows() -> None:
    stream = engine(prompt="hi", stream=True, stop=["END"])
    found = events(translated(stream, generated("E", "N", "T", " E")))
    assert "".join(choice["text"] for each in found for choice in each["choices"]) == "ENT E"


def test_a_stream_without_its_end_or_with_an_error_is_said_to() -> None:
    with pytest.raises(UntranslatableReply):
        engine(prompt="hi", stream=True).end()
    with pytest.raises(ApiError, match="oom"):
        engine(prompt="hi", stream=True).piece(b'data:{"error":"oom","error_type":"generation"}\n\n')


# --- tokenizers


@pytest.mark.parametrize(
    ("opener", "path", "body", "reply"),
    [
        (
            open_engine,
            b"/tokenize",
            {"inputs": "hi", "add_special_tokens": True},
            [{"id": 1, "text": "h"}, {"id": 2, "text": "i"}],
        ),
        (open_llamacpp, b"/tokenize", {"content": "hi", "add_special": True}, {"tokens": [1, 2]}),
        (open_tgw, b"/v1/internal/encode", {"text": "hi"}, {"tokens": [1, 2], "length": 2}),
    ],
)
def test_each_engine_tokenizes_in_its_own_words(opener: Any, path: bytes, body: Any, reply: Any) -> None:
    asked = opener(b"/tokenize", b'{"model":"m","prompt":"hi"}')
    assert (asked.path, json.loads(asked.body)) == (path, body)
    assert json.loads(asked.whole(json.dumps(reply).encode())) == {"count": 2, "tokens": [1, 2]}


def test_tgi_counts_a_conversation_with_its_template() -> None:
    asked = open_engine(b"/tokenize", b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    assert asked is not None
    assert asked.path == b"/chat_tokenize"
    reply = {"tokenize_response": [{"id": 1}, {"id": 2}, {"id": 3}], "templated_text": "x"}
    assert json.loads(asked.whole(json.dumps(reply).encode()))["count"] == 3


def test_llamacpp_counts_a_conversation_as_text() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]
    messages = [{"role": "user", "content": "hi"}, {"role": "user", "content": content}]
    asked = open_llamacpp(b"/tokenize", json.dumps({"model": "m", "messages": messages}).encode())
    assert asked is not None
    assert json.loads(asked.body)["content"] == "user\nhi\nuser\na\n"


def test_tokens_become_text_again() -> None:
    asked = open_llamacpp(b"/detokenize", b'{"model":"m","tokens":[1,2]}')
    assert asked is not None
    assert json.loads(asked.whole(b'{"content":"hi"}')) == {"prompt": "hi"}
    assert open_tgw(b"/v1/chat/completions", b"{}") is None


@pytest.mark.parametrize("opener", [open_engine, open_llamacpp, open_tgw])
def test_nothing_to_tokenize_is_a_400(opener: Any) -> None:
    with pytest.raises(ApiError):
        opener(b"/tokenize", b'{"model":"m"}')
