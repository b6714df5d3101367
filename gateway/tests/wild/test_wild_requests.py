# SPDX-License-Identifier: Apache-2.0
"""How requests arrive, and what of their heads and of the engines' goes on. The sources stand in docs/compatibility.md."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
import zlib
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from gateway_support.house import KEY, Front
from gateway_support.told import Asked, Say, Wild, chat, chunk, completion, messages

from llm_gateway.protocols.codings import decoders

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
BODY = json.dumps(chat("hello " * 50)).encode()


def raw_deflate(body: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(body) + compress.flush()


def zstd(body: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(body)


def brotli(body: bytes) -> bytes:
    return pytest.importorskip("brotli").compress(body)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("zstd", zstd),
        ("br", brotli),
    ],
)
def test_a_compressed_body_reaches_the_engine_as_it_was(wild: Wild, coding: str, encode: Any) -> None:
    sent = encode(BODY)
    front, engine = wild.both()
    for __ in range(3):  # the head is a known one the third time
        assert front.post("/v1/chat/completions", sent, content_encoding=coding).status == 200
    assert engine.asked[-1].body == BODY
    assert "content-encoding" not in engine.asked[-1].headers
    assert front.post("/v1/messages", encode(json.dumps(messages()).encode()), content_encoding=coding).status == 200


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("compress", BODY, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY, mtime=0), mtime=0), 415),
        ("gzip", BODY, 415),
        ("gzip", gzip.compress(BODY, mtime=0)[:-20], 415),
        ("deflate", b"", 415),
        ("gzip", gzip.compress(b" " * (2 << 20), mtime=0), 413),
        ("gzip", gzip.compress(b" " * (1 << 19), mtime=0) * 5, 413),
        ("deflate", zlib.compress(b" " * (2 << 20)), 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(wild: Wild, coding: str, body: bytes, status: int) -> None:
    front, engine = wild.both(max_body=1 << 20)
    reply = front.post("/v1/chat/completions", body, content_encoding=coding)
    assert reply.status == status
    assert not engine.asked
    if status == 415:
        assert "gzip" in reply.headers["accept-encoding"]


@pytest.mark.parametrize("coding", ["zstd", "br"])
def test_a_compressed_bomb_is_not_blown_up(coding: str) -> None:
    from llm_gateway.errors import ApiError
    from llm_gateway.protocols.codings import decoded

    bomb = (zstd if coding == "zstd" else brotli)(bytes(64 << 20))
    with pytest.raises(ApiError) as caught:
        decoded(coding.encode(), bomb, 1 << 20)
    assert caught.value.status == 413


def test_each_coding_that_is_read_is_tried_here() -> None:
    assert decoders().keys() <= {b"gzip", b"x-gzip", b"deflate", b"zstd", b"br"}


# --- keys


@pytest.mark.parametrize(
    "shown",
    [
        {"authorization": "Bearer dummy", "x-api-key": KEY},
        {"authorization": "Bearer dummy", "api-key": KEY},
        {"authorization": f"Bearer {KEY}", "x-api-key": "dummy"},
        {"authorization": "Bearer dummy", "x-api-key": "dummy", "api-key": KEY},
        {"authorization": "Basic dTpw", "x-api-key": "", "api-key": KEY},
    ],
)
def test_one_good_key_of_several_is_enough(wild: Wild, shown: dict[str, str]) -> None:
    front, __ = wild.both()
    for __ in range(3):
        assert front.post("/v1/messages", messages(), key=None, **shown).status == 200
    assert front.get("/v1/models", key=None, **shown).status == 200
    bad = {name: value.replace(KEY, "sk-bad") for name, value in shown.items()}
    assert front.post("/v1/messages", messages(), key=None, **bad).status == 401
    assert front.get("/v1/models", key=None, **bad).status == 401


# --- heads


def test_who_asks_and_their_trace_reach_the_engine(wild: Wild) -> None:
    front, engine = wild.both()
    front.post(
        "/v1/chat/completions",
        chat(),
        traceparent=TRACE,
        tracestate="vendor=1",
        x_forwarded_for="203.0.113.9",
        x_data_parallel_rank="1",
    )
    got = engine.asked[-1].headers
    assert got["traceparent"][3:35] == "a" * 32
    assert got["tracestate"] == "vendor=1"
    assert got["x-data-parallel-rank"] == "1"
    assert got["x-forwarded-for"] == "203.0.113.9, 127.0.0.1"
    front.post("/v1/chat/completions", chat(), tracestate="vendor=1", x_forwarded_for="<x>", x_data_parallel_rank="one")
    got = engine.asked[-1].headers
    assert "tracestate" not in got and "x-data-parallel-rank" not in got
    assert got["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("hops", "forwarded", "client"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (0, "", "127.0.0.1"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9,10.0.0.1", "203.0.113.9"),
        (3, "203.0.113.9", "203.0.113.9"),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_log_has_the_clients_address(wild: Wild, tmp_path: Path, hops: int, forwarded: str, client: str) -> None:
    engine = wild.engine()
    log = tmp_path / "log"
    front = wild.gateway(engine, access_log=str(log), trusted_proxies=hops)
    connection = {"x_forwarded_for": forwarded} if forwarded else {}
    front.post("/v1/chat/completions", chat(), **connection)
    wild.house.until(lambda: log.exists() and log.read_text())
    assert json.loads(log.read_text().splitlines()[0])["client"] == client


def test_a_reply_names_its_engine_and_says_what_that_said(wild: Wild) -> None:
    async def answer(asked: Asked, say: Say) -> None:
        if "json" in asked.said:
            await say.json(completion(), x_time_per_token="3", x_secret="s")
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-time-per-token: 3\r\nx-secret: s\r\n"
        await say.raw(head + b"transfer-encoding: chunked\r\n\r\n")
        await say.event(chunk({"content": "x"}, "stop"))
        await say.end()

    engine = wild.engine(answer)
    front = wild.gateway(engine, engine=(engine.url + "?name=first",))
    for asked in (chat("json"), chat("json"), chat("stream", stream=True)):
        headers = front.post("/v1/chat/completions", asked).headers
        assert headers["x-llm-gateway-engine"] == "first"
        assert headers["x-time-per-token"] == "3"
        assert "x-secret" not in headers
    quiet = wild.gateway(engine, engine_header=False)
    assert "x-llm-gateway-engine" not in quiet.post("/v1/chat/completions", chat("json")).headers


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_retry_after_is_the_engines(wild: Wild, status: int, path: str) -> None:
    waits = {"seconds": "17", "date": formatdate(time.time() + 40, usegmt=True), "nonsense": "soon"}

    async def answer(asked: Asked, say: Say) -> None:
        await say.json({"error": {"message": "busy"}}, status, retry_after=waits[asked.said], retry_after_ms="16500")

    front, __ = wild.both(answer)

    def asked(what: str) -> Any:
        body = {"model": "m", "input": [{"role": "user", "content": what}]}
        reply = front.post(path, body if path.endswith("responses") else messages(what))
        assert reply.status == status and reply.headers["retry-after-ms"] == "16500"
        return int(reply.headers["retry-after"])

    assert asked("seconds") == 17
    assert 20 < asked("date") <= 41
    assert asked("nonsense") == 1


def test_vectors_as_bytes_keep_the_header_that_says_what_they_are(wild: Wild) -> None:
    async def answer(__: Asked, say: Say) -> None:
        await say.body(b"\0\1\2\3", "application/octet-stream", metadata='{"dtype":"float32"}')

    front, __ = wild.both(answer)
    reply = front.post("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "bytes"})
    assert reply.body == b"\0\1\2\3"
    assert reply.headers["metadata"] == '{"dtype":"float32"}'


# --- clients that say no more


class Late:
    """An engine that answers when it is let, and notes when it is left."""

    def __init__(self, wild: Wild) -> None:
        self.house = wild.house
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def answer(self, asked: Asked, say: Say) -> None:
        self.asked.set()
        await self.go.wait()
        if asked.json.get("stream"):
            await say.stream()
            await say.event(chunk({"content": "LATE"}, "stop"))
            await say.end()
        else:
            await say.json(completion("LATE"))


def half_closed(front: Front, version: str = "1.1", **fields: Any) -> socket.socket:
    """A connection that has asked for a chat and says no more."""
    body = json.dumps(chat(**fields)).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    connection = socket.create_connection(("127.0.0.1", front.port), timeout=10)
    connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    return connection


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_client_that_says_no_more_gets_its_answer(wild: Wild, stream: bool) -> None:
    late = Late(wild)
    front, __ = wild.both(late.answer)
    with half_closed(front, stream=stream) as connection:
        wild.house.wait(late.asked)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)  # until it is sure that the client has not left
        wild.house.call(late.go.set)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert b"LATE" in received
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_one_that_has_left_frees_its_engine(wild: Wild, version: str, stream: bool, reset: bool) -> None:
    late = Late(wild)
    front, __ = wild.both(late.answer)
    with half_closed(front, version, stream=stream) as connection:
        wild.house.wait(late.asked)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left = time.monotonic()
    wild.house.until(lambda: not front.gateway.active)
    assert time.monotonic() - left < 2
    assert front.metric('requests_total{model="m",status="499"') == 1


def test_one_that_leaves_after_it_said_no_more_frees_its_engine(wild: Wild, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_gateway.data_path import client_connection

    monkeypatch.setattr(client_connection, "KNOCK_S", 0.1)
    late = Late(wild)
    front, __ = wild.both(late.answer)
    connection = half_closed(front)
    wild.house.wait(late.asked)
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.3)
    assert front.gateway.active
    connection.recv(65536)
    connection.close()
    wild.house.until(lambda: not front.gateway.active)
