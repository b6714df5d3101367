# SPDX-License-Identifier: Apache-2.0
"""Whatever comes from outside: parsers and translations refuse it in their own words, or understand it as everybody else does.

Short and always the same by default; long and ever new with the mark `full`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fuzz.documents import ASKED, CALLS
from fuzz.heads import same_for_sanic
from fuzz.streams import plain_events
from gateway_support.chat import call, stream, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_gateway.engines.probe import models_in
from llm_gateway.errors import ApiError
from llm_gateway.http.head import HeadParser, read_head
from llm_gateway.protocols import UntranslatableReply, anthropic, openai, responses, tables, tgi, tokens
from llm_gateway.protocols.asked import Usage
from llm_gateway.protocols.sse import EventReader

pytestmark = pytest.mark.slow

COUNTS = [150, pytest.param(20_000, marks=pytest.mark.full)]


def fuzz(count: int, check: Callable[..., None], *strategies: Any) -> None:
    """Check so many examples: the same ones each time when there are few."""
    limits = settings(
        max_examples=count,
        derandomize=count <= 150,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    limits(given(*strategies)(check))()


# --- heads

METHOD = st.sampled_from([b"POST", b"GET", b"HEAD", b"post", b"PO ST", b"", b"CONNECT", b"P\x00ST"])
TARGET = st.sampled_from(
    [b"/v1/completions", b"/", b"/a?b=c", b"*", b"", b"http://x/", b"/\xff", b"/a b", b"//x", b"/%00"]
)
VERSION = st.sampled_from(
    [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"", b"http/1.1", b"HTTP/1.11", b"ICE/1.1"]
)
NAME = st.one_of(
    st.sampled_from(
        [
            b"Host",
            b"Content-Length",
            b"Transfer-Encoding",
            b"Connection",
            b"Expect",
            b"Authorization",
            b"X-A",
            b"Upgrade",
            b"content-length ",
            b" Host",
            b"Content_Length",
            b"",
            b"X\x00",
            b"T\xe9",
        ]
    ),
    st.binary(max_size=8),
)
VALUE = st.one_of(
    st.sampled_from(
        [
            b"x",
            b"5",
            b"0",
            b"+5",
            b"-1",
            b"5, 5",
            b"0x5",
            b"1_0",
            b"\xb2",
            b"chunked",
            b"Chunked",
            b"gzip, chunked",
            b"identity",
            b"close",
            b"keep-alive",
            b"100-continue",
            b"Bearer k",
            b"websocket",
            b"a\x00b",
            b"a\rb",
            b"a\nb: c",
            b"",
            b" \t 5 \t",
        ]
    ),
    st.binary(max_size=12),
)
COLON = st.sampled_from([b": ", b":", b" : ", b":\t", b"", b"::"])
END = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\n ", b"\r\r\n"])
LINE = st.tuples(NAME, COLON, VALUE, END).map(b"".join)
GOOD_LINE = st.sampled_from([b"Host: x\r\n", b"Content-Length: 5\r\n", b"Authorization: Bearer k\r\n"])
HEAD = st.builds(
    lambda method, target, version, lines: b"%b %b %b\r\n%b\r\n" % (method, target, version, b"".join(lines)),
    st.one_of(st.just(b"POST"), METHOD),
    st.one_of(st.just(b"/v1/completions"), TARGET),
    st.one_of(st.just(b"HTTP/1.1"), VERSION),
    st.lists(st.one_of(GOOD_LINE, LINE), max_size=6),
)


@pytest.mark.parametrize("count", COUNTS)
def test_no_head_passes_that_sanic_refuses_or_reads_otherwise(count: int) -> None:
    def check(head: bytes) -> None:
        data = head[: head.find(b"\r\n\r\n") + 4]
        try:
            ours, length = read_head(data)
        except ApiError as error:
            assert 400 <= error.status < 500 or error.status in (501, 505)
            return
        # Sanic is given what it will really get, too: the head as it was rewritten; chunked bodies are not handed to it.
        same_for_sanic(data, ours, length)

    fuzz(count, check, HEAD)


@pytest.mark.parametrize("count", COUNTS)
def test_a_head_means_the_same_from_memory(count: int) -> None:
    parser = HeadParser()

    def check(head: bytes) -> None:
        data = head[: head.find(b"\r\n\r\n") + 4]
        results: list[Any] = []
        for __ in range(2):
            try:
                results.append(parser.parse(data))
            except ApiError as error:
                results.append(error.status)
        try:
            results.append(read_head(data))
        except ApiError as error:
            results.append(error.status)
        assert results[0] == results[1] == results[2]

    fuzz(count, check, HEAD)


# --- event streams


PIECE = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b": c",
        b"event: x",
        b"id:1",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\xff",
        b"x",
    ]
)


@pytest.mark.parametrize("count", COUNTS)
def test_events_are_the_same_however_the_stream_is_cut(count: int) -> None:
    def check(parts: list[bytes], cuts: list[int]) -> None:
        data = b"".join(parts) + b"\n"
        reader = EventReader()
        found, start = [], 0
        for cut in [*sorted({cut % len(data) for cut in cuts}), len(data)]:
            found += reader.feed(data[start:cut])
            start = cut
        assert found == plain_events(data)

    fuzz(count, check, st.lists(PIECE, max_size=30), st.lists(st.integers(0, 1000), max_size=8))


# --- translations

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "user", "tool", "text", "\x00"]),
)
JSON = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)

REQUESTS: dict[bytes, Any] = dict(ASKED) | {
    b"/generate": {
        "inputs": "x",
        "parameters": {"max_new_tokens": 5, "stop": ["a"], "grammar": {"type": "json", "value": {}}},
    },
}
ENGINE_REQUESTS: dict[bytes, Any] = {
    b"/v1/completions": {"model": "m", "prompt": "x", "stop": ["a", "b"], "max_tokens": 3, "stream": True},
    b"/tokenize": {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
    b"/detokenize": {"model": "m", "tokens": [1, 2]},
}
REPLIES = [
    json.loads(whole({"content": "x", "tool_calls": CALLS, "reasoning": "r"})),
    {
        "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    {"generated_text": "x", "details": {"finish_reason": "length", "generated_tokens": 1, "prefill": []}},
    {"count": 1, "tokens": [1]},
    [{"id": 1, "text": "x"}],
]
CHUNKS = [
    *(
        json.loads(line[6:])
        for line in stream({"content": "x"}, call(0, "c", "f", "{")).decode().splitlines()
        if line.startswith("data: {")
    ),
    {"token": {"id": 1, "text": "x", "special": False}, "generated_text": None, "details": None},
]


def changed(document: Any, places: list[int], values: list[Any]) -> Any:
    """The document with some of its nodes replaced, wherever they stand."""
    document = json.loads(json.dumps(document))
    for place, value in zip(places, values, strict=False):
        nodes: list[tuple[Any, Any]] = []

        def walk(node: Any, into: list[tuple[Any, Any]] = nodes) -> None:  # pylint: disable=dangerous-default-value
            items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for key, inner in items:
                into.append((node, key))
                walk(inner, into)

        walk(document)
        if nodes:
            node, key = nodes[place % len(nodes)]
            node[key] = value
    return document


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def opened(opener: Any, path: bytes, body: bytes) -> Any:
    try:
        return opener(path, body)
    except ApiError as refused:
        assert refused.status == 400
        assert refused.message
        json.loads(refused.body())
        return None


PLACES = st.lists(st.integers(0, 10_000), max_size=3)
VALUES = st.lists(JSON, min_size=3, max_size=3)


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("count", COUNTS)
def test_any_request_is_translated_or_refused_with_400(count: int, path: bytes) -> None:
    def check(places: list[int], values: list[Any], junk: bytes) -> None:
        for body in (encoded(changed(REQUESTS[path], places, values)), junk):
            found = opened(tables.CLIENTS[path], path, body)
            if found is not None:
                # What goes on to the engine is a request that the data path understands, with a model's name in it.
                try:
                    openai.read(found.body)
                except ApiError as refused:
                    assert refused.status == 400
                assert isinstance(json.loads(found.body)["model"], str)

    fuzz(count // 4, check, PLACES, VALUES, st.binary(max_size=40))


@pytest.mark.parametrize("path", ENGINE_REQUESTS)
@pytest.mark.parametrize("opener", [tgi.open_engine, tokens.open_llamacpp, tokens.open_tgw])
@pytest.mark.parametrize("count", COUNTS)
def test_any_request_is_said_to_an_engine_or_refused_with_400(count: int, opener: Any, path: bytes) -> None:
    def check(places: list[int], values: list[Any], junk: bytes) -> None:
        for body in (encoded(changed(ENGINE_REQUESTS[path], places, values)), junk):
            found = opened(opener, path, body)
            if found is not None:
                json.loads(found.body)

    fuzz(count // 8, check, PLACES, VALUES, st.binary(max_size=40))


def translations() -> list[Any]:
    """A fresh one of each kind."""
    made = [opener(path, encoded(REQUESTS[path])) for path, opener in tables.CLIENTS.items()]
    made += [
        opener(path, encoded(ENGINE_REQUESTS[path]))
        for opener in (tgi.open_engine,)
        for path in (b"/v1/completions", b"/tokenize")
    ]
    made += [tokens.open_llamacpp(path, encoded(ENGINE_REQUESTS[path])) for path in (b"/tokenize", b"/detokenize")]
    return made


@pytest.mark.parametrize("count", COUNTS)
def test_any_whole_reply_is_translated_or_said_to_make_no_sense(count: int) -> None:
    def check(which: int, places: list[int], values: list[Any], junk: bytes) -> None:
        for body in (encoded(changed(REPLIES[which], places, values)), junk):
            for translation in translations():
                try:
                    json.loads(translation.whole(body))
                except UntranslatableReply:
                    continue

    fuzz(count // 2, check, st.integers(0, len(REPLIES) - 1), PLACES, VALUES, st.binary(max_size=40))


@pytest.mark.parametrize("count", COUNTS)
def test_any_stream_is_translated_or_said_to_make_no_sense(count: int) -> None:
    def check(chunks: list[tuple[int, list[int], list[Any]]], junk: bytes) -> None:
        events = [b"data: %b\n\n" % encoded(changed(CHUNKS[which], places, values)) for which, places, values in chunks]
        for translation in translations():
            try:
                said = b"".join([translation.piece(event) for event in [*events, junk]]) + translation.end()
            except UntranslatableReply:
                continue
            for line in said.decode().split("\n"):
                if line.startswith("data:") and line[5:].strip() != "[DONE]":
                    json.loads(line[5:])

    chunk = st.tuples(st.integers(0, len(CHUNKS) - 1), PLACES, VALUES)
    fuzz(count // 2, check, st.lists(chunk, max_size=4), st.binary(max_size=20))


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 2000 + b"]" * 2000,
        b'"\xff"',
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'[{"loc":5}]',
        b'[{"loc":{}}]',
        b"9" * 400,
    ],
)
@pytest.mark.parametrize("field", ["usage", "error", "detail", "message", "data", "model_id"])
def test_what_engines_say_oddly_is_passed_over(field: str, text: bytes) -> None:
    for document in (b'{"%b":%b}', b'{"%b":{"x":%b,"prompt_tokens":1}}', b'{"%b":{"prompt_tokens":%b}}'):
        body = document % (field.encode(), text)
        assert openai.usage_in(body) in (None, (0, 0), (1, 0))
        assert json.loads(openai.from_engine(500, body).body())["error"]["message"]
        assert models_in(body) == {}


# As vLLM, TGI and llama.cpp write it.
USAGES = [
    '{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,"prompt_tokens_details":null}',
    '{"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}',
    '{"completion_tokens":2,"prompt_tokens":5,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":1}}',
]


@pytest.mark.parametrize("usage", USAGES)
def test_usage_as_engines_write_it_is_read_without_the_decoder(usage: str) -> None:
    assert openai.plain_usage(usage.encode(), 0) == openai.usage_in(f'{{"usage":{usage}}}'.encode()) == (5, 2)


@pytest.mark.parametrize("count", COUNTS)
def test_usage_is_read_as_the_decoder_reads_it_or_left_to_it(count: int) -> None:
    number = st.one_of(
        st.integers(-2, 10**17), st.sampled_from(["null", "01", "1.0", "1e3", "{}", '"1"', "", "nul", "9" * 15])
    )
    name = st.one_of(st.sampled_from(["prompt_tokens", "completion_tokens"]), st.text('a_A\\"', max_size=3))
    gap = st.sampled_from(["", "", " ", "  ", "\n"])
    pairs = st.lists(st.tuples(gap, name, gap, number, gap), max_size=5, unique_by=lambda pair: pair[1])
    objects = pairs.map(lambda found: "{" + ",".join('%s"%s":%s%s%s' % pair for pair in found) + "}")  # noqa: UP031

    def check(text: str, cut: int) -> None:
        data = text.encode()[: len(text) - cut]
        found = openai.plain_usage(data, 0)
        if found is None:
            return
        try:
            usage = msgspec.json.decode(data, type=Usage)
        except msgspec.DecodeError:
            # What comes after both numbers is not looked at.
            assert b'"prompt_tokens"' in data and b'"completion_tokens"' in data
        else:
            assert found == (usage.prompt_tokens, usage.completion_tokens or 0)

    fuzz(count, check, objects, st.sampled_from([0, 0, 0, 1, 4]))


@pytest.mark.parametrize("count", ["-1", "9007199254740994", "9" * 400, "1.5", "null"])
def test_counts_that_cannot_be_are_none(count: str) -> None:
    assert openai.usage_in(b'{"usage":{"prompt_tokens":%b,"completion_tokens":2}}' % count.encode()) is None


@pytest.mark.parametrize(
    "opener", [anthropic.open_messages, anthropic.open_count, responses.open_responses, tgi.open_generate]
)
def test_deep_or_broken_text_is_a_400(opener: Any) -> None:
    deep = b'{"model":"m","max_tokens":1,"inputs":"x","input":"x","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (
        deep,
        b"[" * 100_000,
        b'{"model":"\xff"}',
    ):
        with pytest.raises(ApiError) as caught:
            opener(b"/generate", body)
        assert caught.value.status == 400
