# SPDX-License-Identifier: Apache-2.0
"""The clients that people have, unchanged, against a live gateway: real engine where the model's words do not matter, scripted where they do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from gateway_support.chat import call, stream, whole
from gateway_support.house import KEY, Front, House
from gateway_support.llamacpp import RealEngine, llamacpp
from gateway_support.scripted import scripted

pytestmark = pytest.mark.programs

HELLO = [{"role": "user", "content": "hi"}]
TOOL = {
    "name": "weather",
    "description": "tells it",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    with llamacpp(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture(scope="module")
def front(engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One gateway before the real engine, for all tests that only ask it things."""
    with House(tmp_path_factory.mktemp("house")) as house:
        yield house.front(RealEngine(engine.url + "?kind=llamacpp"))


def claude(front: Front, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=front.url, api_key=KEY, max_retries=0, **options)


def gpt(front: Front) -> openai.OpenAI:
    return openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, max_retries=0)


def curl(front: Front, path: str, body: Any, *more: str) -> str:
    command = [
        "curl",
        "-sS",
        "-N",
        front.url + path,
        "-H",
        f"authorization: Bearer {KEY}",
        "-d",
        json.dumps(body),
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


# --- Anthropic's client


def test_anthropic_gets_a_message_from_a_real_engine(front: Front) -> None:
    found = claude(front).messages.create(model="tiny", max_tokens=8, messages=HELLO, system="be brief")
    assert found.content[0].text
    assert found.usage.output_tokens > 0
    assert found.usage.input_tokens > 0
    assert found.stop_reason in ("max_tokens", "end_turn")


def test_anthropic_streams_the_same_text(front: Front) -> None:
    asked: Any = {"model": "tiny", "max_tokens": 12, "messages": HELLO, "extra_body": {"temperature": 0}}
    with claude(front).messages.stream(**asked) as streaming:
        text = "".join(streaming.text_stream)
        final = streaming.get_final_message()
    assert text == claude(front).messages.create(**asked).content[0].text
    assert final.usage.output_tokens > 0
    assert final.content[0].text == text


def test_anthropic_counts_tokens_with_the_engines_tokenizer(front: Front) -> None:
    few = claude(front).messages.count_tokens(model="tiny", messages=HELLO).input_tokens
    many = (
        claude(front)
        .messages.count_tokens(model="tiny", messages=[{"role": "user", "content": "word " * 100}])
        .input_tokens
    )
    assert 0 < few < 20
    assert many > few + 90


def test_anthropic_gets_its_own_error_types(front: Front) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude(front).messages.create(model="none", max_tokens=1, messages=HELLO)
    assert missing.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        claude(front).messages.create(model="tiny", max_tokens=0, messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError) as wrong:
        anthropic.Anthropic(base_url=front.url, api_key="sk-wrong", max_retries=0).messages.create(
            model="tiny", max_tokens=1, messages=HELLO
        )
    assert wrong.value.body["error"]["type"] == "authentication_error"


def test_anthropic_uses_tools_plain_and_streamed(house: House) -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Köln"}'}}]
    with scripted({"/v1/chat/completions": whole({"content": "see", "tool_calls": calls}, "tool_calls")}) as engine:
        engine.answers["/v1/chat/completions"] = json.loads(engine.answers["/v1/chat/completions"])
        front = house.front(engine)
        plain = claude(front).messages.create(model="tiny", max_tokens=50, messages=HELLO, tools=[TOOL])
        assert (plain.stop_reason, plain.content[1].input) == ("tool_use", {"at": "Köln"})
        pieces = stream(
            {"content": "see"},
            call(0, "call_1", "weather", '{"at":'),
            call(0, None, None, ' "Köln"}'),
            finish="tool_calls",
        )
        engine.answers["/v1/chat/completions"] = pieces
        with claude(front).messages.stream(model="tiny", max_tokens=50, messages=HELLO, tools=[TOOL]) as streaming:
            final = streaming.get_final_message()
        assert [block.type for block in final.content] == ["text", "tool_use"]
        assert final.content[1].input == {"at": "Köln"}
        assert final.stop_reason == "tool_use"
        # And the answer to the tool finds its way back.
        turns: Any = [
            *HELLO,
            {"role": "assistant", "content": final.to_dict()["content"]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": final.content[1].id, "content": "rain"}],
            },
        ]
        engine.answers["/v1/chat/completions"] = json.loads(whole({"content": "it rains"}))
        last = claude(front).messages.create(model="tiny", max_tokens=50, messages=turns, tools=[TOOL])
        assert last.content[0].text == "it rains"
        sent = engine.asked[-1][1]["messages"]
        assert sent[-1] == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
        assert sent[-2]["tool_calls"][0]["id"] == "call_1"


def test_a_translated_stream_fails_over_before_its_first_token(house: House) -> None:
    with scripted({}) as good:
        good.answers["/v1/chat/completions"] = stream({"content": "hello"})
        bad = house.engine(mode="garbage_stream")
        front = house.front(bad, good)
        for __ in range(4):
            with claude(front).messages.stream(model="tiny", max_tokens=5, messages=HELLO) as streaming:
                assert "".join(streaming.text_stream) == "hello"


def test_a_translated_stream_that_breaks_off_ends_with_an_error(house: House) -> None:
    front = house.front(house.engine(mode="cut"))
    with pytest.raises((anthropic.APIStatusError, anthropic.APIConnectionError, anthropic.APIError)):  # noqa: SIM117
        with claude(front).messages.stream(model="tiny", max_tokens=5, messages=HELLO) as streaming:
            "".join(streaming.text_stream)


def test_a_translated_request_is_counted_like_any_other(house: House) -> None:
    log = house.folder / "access.log"
    front = house.front(house.engine(), access_log=str(log))
    claude(front).messages.create(model="tiny", max_tokens=5, messages=HELLO)
    with claude(front).messages.stream(model="tiny", max_tokens=5, messages=HELLO) as streaming:
        "".join(streaming.text_stream)
    house.until(lambda: not front.gateway.active)
    house.call(front.gateway.tick)
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        counted = json.loads(line)
        assert (counted["status"], counted["prompt_tokens"], counted["completion_tokens"]) == (200, 7, 5)


# --- OpenAI's client


def test_openai_completes_and_chats_with_a_real_engine(front: Front) -> None:
    client = gpt(front)
    done = client.completions.create(model="tiny", prompt="This is a cake", max_tokens=8, temperature=0)
    assert done.choices[0].text
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage.completion_tokens > 0


def test_openai_responds_with_a_real_engine(front: Front) -> None:
    client = gpt(front)
    asked: Any = {"model": "tiny", "input": "This is a cake", "max_output_tokens": 12, "temperature": 0}
    found = client.responses.create(**asked)
    assert found.output_text
    assert found.usage.output_tokens > 0
    with client.responses.stream(**asked) as streaming:
        events = list(streaming)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    # Cut by its token limit, which the client's own final-response helper takes for a failure, so the last event is looked at.
    assert events[-1].type in ("response.incomplete", "response.completed")
    assert text == found.output_text == events[-1].response.output_text


def test_openai_responds_with_tools(house: House) -> None:
    pieces = stream(call(0, "call_1", "weather", '{"at":'), call(0, None, None, '"x"}'), finish="tool_calls")
    with scripted({"/v1/chat/completions": pieces}) as engine:
        tool: Any = {"type": "function", "name": "weather", "parameters": TOOL["input_schema"], "strict": False}
        with gpt(house.front(engine)).responses.stream(model="tiny", input="hi", tools=[tool]) as streaming:
            final = streaming.get_final_response()
        assert (final.output[0].name, final.output[0].arguments) == ("weather", '{"at":"x"}')


def test_openai_embeds(house: House) -> None:
    data = [{"object": "embedding", "index": number, "embedding": [0.5, number]} for number in range(2)]
    answer = {"object": "list", "model": "tiny", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    with scripted({"/v1/embeddings": answer}) as engine:
        found = gpt(house.front(engine)).embeddings.create(model="tiny", input=["one", "two"], encoding_format="float")
        assert [each.embedding for each in found.data] == [[0.5, 0], [0.5, 1]]
        assert engine.asked[0][1]["input"] == ["one", "two"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/score", "/rerank"])
def test_rerank_and_score_pass_through(house: House, path: str) -> None:
    answer = {"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    with scripted({path: answer}) as engine:
        reply = house.front(engine).post(path, {"model": "tiny", "query": "q", "documents": ["d"]})
        assert (reply.status, reply.json) == (200, answer)
        assert engine.asked == [(path, {"model": "tiny", "query": "q", "documents": ["d"]})]


# --- LangChain


def test_langchain_chats_streams_and_binds_tools(front: Front, house: House) -> None:
    from langchain_openai import ChatOpenAI

    options: Any = {"base_url": front.url + "/v1", "api_key": KEY, "model": "tiny", "max_tokens": 8, "temperature": 0}
    chat = ChatOpenAI(**options)
    whole_text = chat.invoke("This is a cake").content
    assert whole_text
    assert "".join(str(piece.content) for piece in chat.stream("This is a cake")) == whole_text
    calls = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "x"}'}}]
    with scripted(
        {"/v1/chat/completions": json.loads(whole({"content": None, "tool_calls": calls}, "tool_calls"))}
    ) as engine:
        bound = ChatOpenAI(**options | {"base_url": house.front(engine).url + "/v1"}).bind_tools([TOOL])
        assert bound.invoke("hi").tool_calls[0]["args"] == {"at": "x"}


def test_langchain_with_the_responses_api(front: Front) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=front.url + "/v1", api_key=KEY, model="tiny", max_tokens=8, use_responses_api=True)
    assert chat.invoke("This is a cake").text


# --- curl and TGI


def test_curl_streams(front: Front) -> None:
    out = curl(front, "/v1/completions", {"model": "tiny", "prompt": "This is a cake", "max_tokens": 5, "stream": True})
    assert out.endswith("data: [DONE]\n\n")
    assert out.startswith("data: {")


def test_a_tgi_client_asks_any_engine(front: Front) -> None:
    asked = {"inputs": "This is a cake", "parameters": {"max_new_tokens": 8, "details": True}}
    plain = json.loads(curl(front, "/generate", asked))
    assert plain["details"]["finish_reason"] in ("length", "eos_token")
    out = curl(front, "/generate_stream", asked)
    events = [json.loads(line[5:]) for line in out.splitlines() if line.startswith("data:")]
    assert events[-1]["generated_text"] == plain["generated_text"]
    assert "".join(each["token"]["text"] for each in events if not each["token"]["special"]) == plain["generated_text"]


def test_an_openai_client_asks_a_tgi_engine(house: House) -> None:
    tokens = [
        {"token": {"id": n, "text": f" w{n}", "special": False}, "generated_text": None, "details": None}
        for n in range(3)
    ]
    tokens[-1] |= {
        "generated_text": " w0 w1 w2",
        "details": {"finish_reason": "length", "generated_tokens": 3, "input_length": 4},
    }
    answers = {
        "/generate": {"generated_text": " w0 w1", "details": {"finish_reason": "length", "generated_tokens": 2}},
        "/generate_stream": b"".join(b"data:%b\n\n" % json.dumps(token).encode() for token in tokens),
        "/tokenize": [{"id": 5, "text": "hi", "start": 0, "stop": 2}],
    }
    with scripted(answers, kind="tgi") as engine:
        front = house.front(engine)
        client = gpt(front)
        plain = client.completions.create(model="tiny", prompt="hi", max_tokens=2)
        assert (plain.choices[0].text, plain.usage.completion_tokens) == (" w0 w1", 2)
        chunks = list(client.completions.create(model="tiny", prompt="hi", max_tokens=3, stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == " w0 w1 w2"
        assert front.post("/tokenize", {"model": "tiny", "prompt": "hi"}).json == {"count": 1, "tokens": [5]}
        # A TGI client before a TGI engine: both translations at work in one exchange.
        assert json.loads(curl(front, "/generate", {"inputs": "hi"})) == {"generated_text": " w0 w1"}
        assert (
            json.loads(curl(front, "/generate_stream", {"inputs": "hi"}).strip().splitlines()[-1][5:])["generated_text"]
            == " w0 w1 w2"
        )
