# SPDX-License-Identifier: Apache-2.0
"""What a hostile client may send: refused with a 4xx (or 501, 505), never passed on, never a crash."""

from __future__ import annotations

import contextlib
import random

import pytest
from fuzz.memory import House as HouseInMemory
from fuzz.memory import Transport
from gateway_support.house import House

from llm_gateway.errors import ApiError
from llm_gateway.http.head import HeadParser, read_head

START = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\n"
BODY = b'{"model":"tiny","prompt":"x"}'

HOSTILE = {
    "length and coding": START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": START + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "the same length twice": START + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "a list of lengths": START + b"content-length: 5, 5\r\n\r\nhello",
    "a negative length": START + b"content-length: -5\r\n\r\nhello",
    "a signed length": START + b"content-length: +5\r\n\r\nhello",
    "a hexadecimal length": START + b"content-length: 0x5\r\n\r\nhello",
    "an endless length": START + b"content-length: 99999999999999999999999\r\n\r\nhello",
    "an obscure coding": START + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": START + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": START + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding with a space": START + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "an endless extension of a chunk": START + b"transfer-encoding: chunked\r\n\r\n5;x=" + b"a" * 200_000,
    "endless trailers": START
    + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    + b"x-a: b\r\n" * 20_000,
    "a folded header": START + b"x-a: b\r\n content-length: 5\r\n\r\nhello",
    "a bare line feed": START + b"x-a: b\ncontent-length: 5\r\n\r\nhello",
    "a bare carriage return": START + b"x-a: b\rcontent-length: 5\r\n\r\nhello",
    "a null byte": START + b"x-a: \x00\r\n\r\n",
    "a control byte": START + b"x-a: \x01\r\n\r\n",
    "no host": b"POST /v1/completions HTTP/1.1\r\n\r\n",
    "two hosts": START + b"host: y\r\n\r\n",
    "two keys": START + b"authorization: Bearer other\r\n\r\n",
    "no name": START + b": x\r\n\r\n",
    "a name with a space": START + b"a b: x\r\n\r\n",
    "an absolute target": b"POST http://x/v1/completions HTTP/1.1\r\nhost: x\r\n\r\n",
    "an empty line first": b"\r\n" + START + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    "two spaces": START.replace(b" HTTP", b"  HTTP") + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/3.0": b"GET / HTTP/3.0\r\nhost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a broken chunk": START + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk with a lone line feed": START + b"transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "a huge head": START + b"x-a: " + b"a" * 70_000 + b"\r\n\r\n",
    "no length at all": START + b"\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_refused_and_never_reaches_an_engine(house: House, name: str) -> None:
    engine = house.engine()
    front = house.front(engine, head_timeout=2)
    received = front.raw(HOSTILE[name], timeout=5)
    status = int(received[9:12])
    assert 400 <= status < 500 or status in (501, 505), received[:200]
    assert received.count(b"connection: close") == 1
    assert not engine.requests
    assert front.chat().status == 200


@pytest.mark.parametrize(
    "length", [b"+5", b"-5", b"5 5", b"5,5", b"0x5", b"5_0", b"", b"9" * 16, b"\xb2", b"5\r\nx: y\r\ncontent-length: 6"]
)
def test_a_head_like_the_last_ones_is_refused_as_any_other(house: House, length: bytes) -> None:
    engine = house.engine()
    front = house.front(engine)
    good = START + b"content-length: %d\r\nx-tail: 1\r\n\r\n" % len(BODY) + BODY
    bad = START + b"content-length: %b\r\nx-tail: 1\r\n\r\n" % length + BODY
    received = front.raw(good * 3 + bad, timeout=5)
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"200", b"400"]
    assert len(engine.requests) == 3


def test_a_connection_may_change_its_head_and_its_key_from_request_to_request(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)

    def asked(key: bytes, extra: bytes = b"") -> bytes:
        start = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key + b"\r\n" + extra
        return start + b"content-length: %d\r\n\r\n" % len(BODY) + BODY

    same = asked(b"sk-test")
    received = front.raw(
        same * 3 + asked(b"sk-test", b"x-request-id: mine\r\n") + same * 2 + asked(b"sk-other"), timeout=5
    )
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 6 + [b"401"]
    assert received.count(b"x-request-id: mine") == 1


@pytest.mark.parametrize(
    ("target", "coding", "more"),
    [
        (b"/v1/completions", b"Chunked", b""),
        (b"http://gw.example:8080/v1/completions", b"chunked", b""),
        (b"/v1/completions", b"chunked", b"x-api-key: sk-test\r\nauthorization: Basic dTpw\r\n"),
    ],
)
def test_what_http_allows_is_no_attack(house: House, target: bytes, coding: bytes, more: bytes) -> None:
    """RFC 9112 sections 3.2.2 and 7; and a password that is meant for something before the gateway."""
    front = house.front(house.engine())
    key = more or b"authorization: Bearer sk-test\r\n"
    head = b"POST %b HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: %b\r\n\r\n" % (target, key, coding)
    assert front.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), timeout=5).startswith(b"HTTP/1.1 200 ")


def test_only_a_target_that_begins_with_a_scheme_is_absolute() -> None:
    head, __ = read_head(b"GET /v1/models/http://gw/m HTTP/1.1\r\nhost: x\r\n\r\n")
    assert head.target == b"/v1/models/http://gw/m"


@pytest.mark.parametrize(
    ("absolute", "target"), [(b"http://gw", b"/"), (b"HTTP://gw?a=1", b"/?a=1"), (b"http://gw:80/v1?a=/", b"/v1?a=/")]
)
def test_an_absolute_target_asks_for_its_path_and_query(absolute: bytes, target: bytes) -> None:
    head, __ = read_head(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % absolute)
    assert head.target == target


def test_nothing_after_a_refused_request_is_taken_for_another(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    smuggled = START + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    received = front.raw(
        START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, timeout=5
    )
    assert received.count(b"connection: close") == 1
    assert not engine.requests


def test_header_injection_through_a_request_id_is_not_possible(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    assert front.chat(headers={"x-request-id": "good-id.1"}).headers["x-request-id"] == "good-id.1"
    assert front.chat(headers={"x-request-id": "bad id; x"}).headers["x-request-id"] != "bad id; x"
    assert "bad id" not in engine.heads[-1]


def test_a_slow_loris_is_told_and_closed(house: House) -> None:
    front = house.front(house.engine(), head_timeout=0.2)
    received = front.raw(START + b"x-a: never ends", timeout=5)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_never_comes_is_told_and_closed(house: House) -> None:
    front = house.front(house.engine(), body_timeout=0.2)
    received = front.raw(START + b"content-length: 100\r\n\r\nhello", timeout=5)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_without_a_word(house: House) -> None:
    front = house.front(house.engine(), head_timeout=0.2)
    assert front.raw(b"", timeout=5) == b""


def test_connections_over_the_limit_are_closed(house: House) -> None:
    import socket

    front = house.front(house.engine(), max_connections=5)
    held = [socket.create_connection(("127.0.0.1", front.port)) for __ in range(5)]
    house.until(lambda: len(front.gateway.connections) == 5)
    extra = socket.create_connection(("127.0.0.1", front.port), timeout=5)
    with extra, contextlib.suppress(ConnectionResetError):
        assert extra.recv(1) == b""
    for connection in held:
        connection.close()


def test_mutated_requests_never_crash_the_parser_and_never_pass_what_llhttp_refuses() -> None:
    """Ten thousand mutations of a good head: parsed, or refused as ApiError; the kept heads change nothing."""
    chance = random.Random(7)
    good = START + b"content-length: 29\r\ncontent-type: application/json\r\nconnection: keep-alive\r\n\r\n"
    parser = HeadParser()
    parser.parse(good)
    for __ in range(10_000):
        head = bytearray(good)
        for __ in range(chance.randint(1, 4)):
            position = chance.randrange(len(head) - 4)
            action = chance.randrange(4)
            if action == 0:
                head[position] = chance.randrange(256)
            elif action == 1:
                del head[position]
            elif action == 2:
                head.insert(position, chance.choice(b"\r\n\x00 :,;\t09aZ"))
            else:
                other = chance.randrange(len(head) - 4)
                head[position:position] = head[other : other + chance.randint(1, 20)]
        data = bytes(head[: head.find(b"\r\n\r\n") + 4]) if b"\r\n\r\n" in head else bytes(head) + b"\r\n\r\n"
        results = []
        for parse in (read_head, parser.parse):
            try:
                results.append(parse(data))
            except ApiError as error:
                assert 400 <= error.status < 600
                results.append(error.status)
        assert results[0] == results[1], data
        try:
            found, length, digest, token = parser.find(data)
            assert (found.without_key(), length) == (results[0][0].without_key(), results[0][1]), data
            assert (digest, token) == (results[0][0].digest, results[0][0].token), data
        except ApiError as error:
            assert results[0] == error.status, data


def test_a_head_that_differs_in_its_key_only_is_known_and_never_mistaken_for_anothers() -> None:
    parser = HeadParser()
    for key in (b"sk-1", b"sk-2", b"sk-2", b"a.b.c=="):
        for extra in (b"", b"x-api-key: other\r\n", b"x-session-id: s\r\n"):
            for length_first in (False, True):
                lines = [b"authorization: Bearer " + key + b"\r\n" + extra, b"content-length: 5\r\n"]
                head = (
                    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
                    + b"".join(reversed(lines) if length_first else lines)
                    + b"\r\n"
                )
                exact, length = read_head(head)
                found, its_length, digest, token = parser.find(head)
                assert (its_length, digest, token) == (length, exact.digest, exact.token)
                assert found.without_key() == exact.without_key()
                assert found.token in (None, key)
                doubled = head.replace(b"host: x\r\n", b"host: x\r\nauthorization: Bearer sk-1\r\n")
                for parse in (parser.parse, parser.find, read_head):
                    with pytest.raises(ApiError):
                        parse(doubled)


@pytest.mark.parametrize("length", [b"content-length: 0\r\n", b"content-length: 5\r\n", b""])
@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", b"close", False),
        (b"1.1", b"keep-alive", True),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"close", False),
    ],
)
def test_whether_a_connection_stays_is_no_matter_of_the_body(
    version: bytes, connection: bytes, stays: bool, length: bytes
) -> None:
    # Heads are kept without their lengths: what one of them says would be taken for what all of them say.
    lines = b"host: x\r\nconnection: " + connection + b"\r\n" + length
    head, __ = read_head(b"POST / HTTP/" + version + b"\r\n" + lines + b"\r\n")
    assert head.keep_alive is stays


def test_what_comes_while_one_request_ends_comes_after_what_was_there_already() -> None:
    """A pipelined request is here in part, the reply before it goes out, and the rest comes in the same turn of the loop."""
    bodies: list[bytes] = []

    def answer(engine: Transport, _path: bytes, body: bytes) -> None:
        bodies.append(body)
        memory.loop.call_soon(engine.receive, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def ask(turns: int) -> bytes:
        transport, connection = await memory.send([whole[:-20], whole[-20:]], turns=turns)
        await memory.leave(transport, connection)
        return transport.written

    memory = HouseInMemory(answer, engine=("http://127.0.0.1:9",))
    sent = [BODY, BODY.replace(b'"x"', b'"the other"')]
    whole = b"".join(START + b"content-length: %d\r\n\r\n" % len(body) + body for body in sent)
    with contextlib.closing(memory):
        for turns in range(12):
            bodies.clear()
            received = memory.run(ask(turns))
            assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200"], turns
            assert bodies == sent


def test_known_heads_never_give_one_client_anothers_rights(house: House) -> None:
    import json
    from hashlib import sha256

    folder = house.folder / "keys"
    folder.mkdir()
    for name, models in (("one", ["tiny"]), ("other", ["none"])):
        (folder / name).write_text(json.dumps({"sha256": sha256(name.encode()).hexdigest(), "models": models}))
    front = house.front(house.engine(), keys_dir=str(folder))
    for __ in range(3):
        assert [front.chat(key=key).status for key in ("one", "other", "wrong")] == [200, 403, 401]
        assert [len(front.get("/v1/models", key=key).json.get("data", "x")) for key in ("one", "other", "wrong")] == [
            1,
            0,
            1,
        ]
