# SPDX-License-Identifier: Apache-2.0
"""A client's bytes, in any pieces: each request is understood as llhttp does or refused, and the pieces do not matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import httptools

from fuzz.memory import Answered, Asked, House, Transport
from fuzz.target import Target, parts, seed
from llm_gateway.data_path.client_connection import State
from llm_gateway.data_path.usage import asking
from llm_gateway.errors import ApiError
from llm_gateway.protocols import openai, tables

START = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n"
PLAIN = b'{"model":"tiny","prompt":"x"}'
STREAM = b'{"model":"tiny","prompt":"x","stream":true,"max_tokens":5}'
# What suits every path.
ANSWER = b'{"choices":[{"index":0,"text":"y","message":{"content":"y"}}],"usage":{"prompt_tokens":1},"tokens":[1]}'
EVENTS = b'data: {"choices":[{"index":0,"text":"y","delta":{"content":"y"}}]}\n\n', b"data: [DONE]\n\n"


def post(body: bytes, path: bytes = b"/v1/completions", more: bytes = b"") -> bytes:
    """A whole request."""
    return START.replace(b"/v1/completions", path) + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
SEEDS = (
    seed(post(PLAIN) * 4),
    seed(post(PLAIN) * 2 + post(STREAM), 1),
    seed(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(PLAIN), PLAIN), 2),
    seed(CHUNKED + b"5;a=b\r\nhello\r\n0\r\nt: v\r\n\r\n", 3),
    seed(post(b"x" * 1100) + post(PLAIN)),
    seed(post(PLAIN, more=b"Expect: 100-continue\r\n") + post(PLAIN, more=b"Connection: close\r\n") + post(PLAIN), 1),
    seed(post(b'{"model":"tiny","max_tokens":5,"messages":[{"role":"user","content":"x"}]}', b"/v1/messages") * 2),
    seed(post(b'{"inputs":"x","parameters":{}}', b"/generate") + post(b'{"inputs":"x"}', b"/generate_stream"), 1),
    seed(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-test\r\n\r\n"),
    seed(b"GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n", 1),
    seed(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloPOST", 1),
    seed(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
    seed(post(b'{"model":"tiny","max_tokens":%b,"prompt":"x"}' % (b"9" * 30))),
)
WORDS = (
    START,
    post(PLAIN),
    CHUNKED,
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 29\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.0\r\n",
    b"GET /v1/models/",
    b"/v1/chat/completions",
    b"/v1/responses",
    b"/v1/embeddings",
    b"/tokenize",
    b"x-priority: high\r\n",
    b"x-request-id: a\r\n",
    b"x-session-id: s\r\n",
    b'"model":"tiny"',
    b'"model":""',
    b'"stream":true',
    b'"max_tokens":-9',
    b'"n":' + b"9" * 30,
    b"\xff",
    b"[" * 1200,
)


def expected(path: bytes, body: bytes) -> bytes | None:
    """What an engine is to get for this request; None where it gets nothing."""
    try:
        opener = tables.CLIENTS.get(path)
        if opener is not None:
            translation = opener(path, body)
            assert translation is not None
            path, body = translation.path, translation.body
        asked = openai.read(body)
        body = body if asked.model else openai.with_model(body, "tiny")
        return (asking(path, body) or body) if asked.stream else body
    except ApiError:
        return None


def make() -> Callable[[bytes], None]:
    """See Target."""
    bodies: list[bytes] = []

    def answer(transport: Transport, _path: bytes, body: bytes) -> None:
        bodies.append(body)
        if json.loads(body).get("stream") is True:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            pieces = [head, *(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS), b"0\r\n\r\n"]
        else:
            pieces = [
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
                + ANSWER
            ]
        for piece in pieces:
            house.loop.call_soon(transport.receive, piece)

    house = House(
        answer,
        engine=("http://127.0.0.1:9",),
        max_head=512,
        max_body=1024,
        limit_tokens_per_minute=10**15,
        limit_budget_tokens=10**15,
    )
    gateway = house.gateway

    async def serve(pieces: list[bytes], turns: int) -> tuple[list[int], list[bytes]]:
        """The statuses that a client gets, and what engines got."""
        bodies.clear()
        transport, connection = await house.send(pieces, turns=turns)
        if connection.mode is not State.SANIC:
            # Whatever was sent: in the end the connection is closed by itself.
            for __ in range(2):
                connection.tick(monotonic() + 1e6)
            await house.settle()
            assert transport.closing, connection.mode
        answered = Answered(transport.written)
        await house.leave(transport, connection)
        for status in answered.statuses:
            assert status == 200 or 400 <= status < 500 or status in (501, 505), status
        # Of several reasons to refuse a request, the first to be seen is told; and only a bad one may depend on the pieces.
        return [min(status, 400) for status in answered.statuses], list(bodies)

    def check(data: bytes) -> None:
        choice, payload, pieces = parts(data)
        if not pieces:
            return
        gateway.heads.forget()
        asked = Asked()
        with suppress(httptools.HttpParserError):
            asked.feed(payload)
        statuses, got = house.run(serve([payload], 0))
        assert len(statuses) <= len(asked.requests) + 1
        wanted = [expected(url.partition(b"?")[0], body) for __, url, body in asked.requests]
        place = 0
        for body in got:
            # In this order, and nothing that llhttp has not seen.
            assert body in wanted[place:], body
            place = wanted.index(body, place) + 1
        assert house.run(serve(pieces, choice % 8)) == (statuses, got), "it matters how the bytes were cut"

    return check


CLIENT = Target(make, SEEDS, WORDS)
