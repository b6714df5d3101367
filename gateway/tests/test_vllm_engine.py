# SPDX-License-Identifier: Apache-2.0
"""A real vLLM behind the gateway, on a CPU with the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from gateway_support.house import KEY, Front, House, Stream
from gateway_support.llamacpp import RealEngine, llamacpp
from gateway_support.vllm import Vllm, serving

# The first of them may have to install it.
pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.programs]

SLOTS = 2
HELLO = [{"role": "user", "content": "hi"}]
LONG = {"max_tokens": 900, "ignore_eos": True}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    with serving(tmp_path_factory.mktemp("vllm"), slots=SLOTS) as running:
        yield running


@pytest.fixture
def front(house: House, engine: Vllm) -> Front:
    return house.front(RealEngine(engine.url + "?kind=vllm"))


def gpt(front: Front) -> openai.OpenAI:
    return openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, max_retries=0)


def claude(front: Front) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=front.url, api_key=KEY, max_retries=0)


def test_its_model_is_learned_from_it(front: Front) -> None:
    assert [model["id"] for model in front.get("/v1/models").json["data"]] == ["tiny"]
    assert front.chat(model="other").code == "model_not_found"


def test_chat_is_the_same_text_plain_and_streamed_and_is_counted(front: Front) -> None:
    asked: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 20, "temperature": 0}
    plain = gpt(front).chat.completions.create(**asked)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(gpt(front).chat.completions.create(**asked, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content != ""
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens > 0
    counted = front.metric('tokens_total{model="tiny",direction="completion"}')
    assert counted == 2 * plain.usage.completion_tokens


def test_both_engines_give_the_same_text_for_the_same_weights(front: Front, house: House, tmp_path: Path) -> None:
    asked: Any = {"model": "tiny", "prompt": "This is a", "max_tokens": 30, "temperature": 0}
    with llamacpp(tmp_path / "model", kind="random") as other:
        theirs = gpt(house.front(RealEngine(other.url + "?kind=llamacpp"))).completions.create(**asked)
    assert gpt(front).completions.create(**asked).choices[0].text == theirs.choices[0].text


def test_other_apis_are_translated_for_it(front: Front) -> None:
    chat: Any = {"model": "tiny", "max_tokens": 20, "temperature": 0}
    text = gpt(front).chat.completions.create(messages=HELLO, **chat).choices[0].message.content
    # This client has no parameter for the temperature any more.
    asked: Any = {"model": "tiny", "max_tokens": 20, "extra_body": {"temperature": 0}, "messages": HELLO}
    assert claude(front).messages.create(**asked).content[0].text == text
    with claude(front).messages.stream(**asked) as streaming:
        assert "".join(streaming.text_stream) == text
    responses: Any = {"model": "tiny", "input": "hi", "max_output_tokens": 20, "temperature": 0}
    assert gpt(front).responses.create(**responses).output_text == text
    with gpt(front).responses.stream(**responses) as streaming:
        deltas = [event.delta for event in streaming if event.type == "response.output_text.delta"]
    assert "".join(deltas) == text


def test_tokens_are_the_engines_own(front: Front) -> None:
    found = front.post("/tokenize", {"model": "tiny", "prompt": "This is a cake"}).json
    assert found["count"] == len(found["tokens"]) > 1
    back = front.post("/detokenize", {"model": "tiny", "tokens": found["tokens"]}).json["prompt"]
    assert back.endswith("This is a cake")
    counted = claude(front).messages.count_tokens(model="tiny", messages=HELLO).input_tokens
    assert counted == front.chat(max_tokens=1).json["usage"]["prompt_tokens"]


def test_what_it_refuses_is_refused_as_it_says(front: Front) -> None:
    reply = front.chat(messages=[{"role": "user", "content": "cake " * 2000}])
    assert reply.status == 400
    assert "context length" in reply.json["error"]["message"]
    # Which was the client's doing: the engine stays in.
    assert front.chat(max_tokens=1).status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_it_aborts_what_a_client_left(front: Front, engine: Vllm, house: House, stream: bool) -> None:
    # It counts what it finished, not what it gave up.
    finished, tokens = engine.metric("request_success_total"), engine.metric("generation_tokens_total")
    request = front.open_stream(stream=stream, **LONG)
    if stream:
        assert request.event().startswith("data: ")
    engine.until("num_requests_running", 1)
    request.close()
    engine.until("num_requests_running", 0)
    assert engine.metric("request_success_total") == finished
    assert engine.metric("generation_tokens_total") < tokens + LONG["max_tokens"]
    house.until(lambda: not front.gateway.active)
    assert front.metric('requests_total{model="tiny",status="499"') == 1


def test_its_queue_and_its_cache_decide_where_requests_go(house: House, engine: Vllm) -> None:
    other = house.engine()
    front = house.front(engine, other, policy="queue-aware", engine_metrics_interval=0.1)
    ours = next(each for each in front.gateway.fleet.registry.engines.values() if each.address in engine.url)
    # More than it can compute at once, past the gateway: only its metrics tell.
    port = int(engine.url.rsplit(":", 1)[1])
    body = {"model": "tiny", "prompt": "hi", "stream": True} | LONG
    streams = [Stream(port, "/v1/completions", body, KEY) for __ in range(SLOTS + 3)]
    try:
        house.until(lambda: ours.queue_depth == 3 and ours.kv_use > 0)
        assert [front.chat().status for __ in range(4)] == [200] * 4
        assert len(other.requests) == 4
    finally:
        for each in streams:
            each.close()
    house.until(lambda: ours.queue_depth == 0 and ours.kv_use == 0)
