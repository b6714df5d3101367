# SPDX-License-Identifier: Apache-2.0
"""One request's way through the gateway, seen by plain clients."""

from __future__ import annotations

import json
import threading
import time

import openai
import pytest
from gateway_support.house import KEY, House


def test_a_chat_completion_is_answered(house: House) -> None:
    front = house.front(house.engine())
    reply = front.chat(max_tokens=3)
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "w0 w1 w2"
    assert reply.headers["x-request-id"]


def test_a_stream_arrives_whole_and_in_order(house: House) -> None:
    front = house.front(house.engine())
    events = front.open_stream(max_tokens=4).events()
    assert events[-1] == "data: [DONE]"
    texts = [json.loads(event[6:])["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(texts) == "w0 w1 w2 w3 "


def test_a_connection_serves_many_requests(house: House) -> None:
    import http.client

    engine = house.engine()
    front = house.front(engine)
    connection = http.client.HTTPConnection("127.0.0.1", front.port)
    for stream in (False, True, False):
        body = json.dumps({"model": "tiny", "messages": [], "stream": stream})
        connection.request("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {KEY}"})
        reply = connection.getresponse()
        assert reply.status == 200
        reply.read()
    connection.close()
    assert len(engine.requests) == 3


def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    front = house.front(house.engine())
    parts = []
    for tokens in (1, 2, 3):
        body = json.dumps({"model": "tiny", "messages": [], "max_tokens": tokens}).encode()
        parts.append(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\n"
            + (b"connection: close\r\n" if tokens == 3 else b"")
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
    received = front.raw(b"".join(parts))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.index(b'"w0"') < received.index(b'"w0 w1"') < received.index(b'"w0 w1 w2"')


def test_a_request_in_single_bytes_is_understood(house: House) -> None:
    import socket

    front = house.front(house.engine())
    body = b'{"model":"tiny","prompt":"x"}'
    head = (
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + body:
            connection.sendall(bytes([byte]))
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_chunked_request_body_is_understood(house: House) -> None:
    front = house.front(house.engine())
    body = b'{"model":"tiny","prompt":"x"}'
    received = front.raw(
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\ntransfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    )
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_expect_100_continue_is_answered_before_the_body(house: House) -> None:
    import socket

    front = house.front(house.engine())
    body = b'{"model":"tiny","prompt":"x"}'
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\nexpect: 100-continue\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_gets_a_stream_without_chunks(house: House) -> None:
    front = house.front(house.engine())
    body = b'{"model":"tiny","prompt":"x","stream":true,"max_tokens":2}'
    received = front.raw(
        b"POST /v1/completions HTTP/1.0\r\nauthorization: Bearer sk-test\r\ncontent-length: %d\r\n\r\n" % len(body)
        + body
    )
    head, __, rest = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")


def test_the_openai_client_lists_completes_streams_and_gets_typed_errors(house: House) -> None:
    front = house.front(house.engine())
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    assert client.completions.create(model="tiny", prompt="hi", max_tokens=2).choices[0].text == "w0 w1"
    messages = [{"role": "user", "content": "hi"}]
    stream = client.chat.completions.create(model="tiny", messages=messages, stream=True, max_tokens=3)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "w0 w1 w2 "
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="none", messages=messages)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as wrong:
        openai.OpenAI(base_url=front.url + "/v1", api_key="sk-wrong", max_retries=0).models.list()
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=front.url + "/v1", api_key="sk-wrong", max_retries=0).completions.create(
            model="tiny", prompt="x"
        )


@pytest.mark.slow
def test_a_100_mb_body_gets_a_typed_413(house: House) -> None:
    front = house.front(house.engine())
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.APIStatusError) as refused:
        client.completions.create(model="tiny", prompt="x" * 100_000_000)
    assert refused.value.status_code == 413
    assert refused.value.code == "request_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"",
        b"nonsense",
        b'{"model":7,"prompt":"x"}',
        b'{"model":"tiny","prompt":"\xff\xfe"}',
        b"[" * 100_000,
    ],
    ids=["cut", "array", "empty", "text", "numeric model", "invalid UTF-8", "deep"],
)
def test_a_malformed_body_is_a_400(house: House, body: bytes) -> None:
    engine = house.engine()
    front = house.front(engine)
    reply = front.post("/v1/completions", body)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert not engine.requests


def test_deep_json_inside_a_good_request_never_breaks_the_gateway(house: House) -> None:
    front = house.front(house.engine())
    deep = b'{"model":"tiny","prompt":"x","tools":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert front.post("/v1/completions", deep).status == 400
    assert front.chat().status == 200


def test_a_known_model_without_an_engine_is_503_and_an_unknown_one_404(house: House) -> None:
    front = house.front(house.engine(), models={"asleep": {}})
    reply = front.chat(model="asleep")
    assert (reply.status, reply.code) == (503, "no_ready_engine")
    assert int(reply.headers["retry-after"]) > 0
    assert front.chat(model="never").status == 404


def test_other_methods_are_405_and_other_paths_404(house: House) -> None:
    front = house.front(house.engine())
    assert front.get("/v1/chat/completions").status == 405
    assert front.get("/nothing").status == 404
    assert front.get("/healthz", key=None).status == 200


def test_the_access_log_has_numbers_but_no_prompt_and_no_key(house: House) -> None:
    log = house.folder / "access.log"
    front = house.front(house.engine(), access_log=str(log))
    before = time.time()
    front.chat(messages=[{"role": "user", "content": "my secret prompt"}])
    after = time.time()
    time.sleep(0.3)
    house.call(front.gateway.tick)
    line = json.loads(log.read_text())
    # When the request ended, not when that was written.
    assert before <= line["time"] <= after + 0.1
    assert (line["status"], line["model"], line["prompt_tokens"], line["completion_tokens"], line["key"]) == (
        200,
        "tiny",
        7,
        5,
        "key-1",
    )
    assert "secret" not in log.read_text()
    assert KEY not in log.read_text()


def test_a_slow_reader_makes_the_engine_wait(house: House) -> None:
    """Memory stays bounded when a client does not read: the engine's connection is paused."""
    engine = house.engine(tokens=200_000)
    front = house.front(engine)
    stream = front.open_stream()
    assert stream.event().startswith("data: ")
    house.until(lambda: any(connection.writing_paused for connection in front.gateway.connections), 20)
    stream.close()
    house.until(lambda: engine.aborted == 1)


def test_many_clients_at_once_are_all_served(house: House) -> None:
    front = house.front(*(house.engine() for __ in range(3)))
    statuses: list[int] = []

    def ask() -> None:
        for __ in range(5):
            statuses.append(front.chat().status)

    threads = [threading.Thread(target=ask) for __ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
    # A reply goes out before its engine is given back.
    house.until(lambda: all(engine.in_flight == 0 for engine in front.gateway.fleet.registry.engines.values()))


@pytest.mark.parametrize(
    "more",
    [
        {"max_tokens": "5"},
        {"max_tokens": 5.0},
        {"stream": 0},
        {"stream": "false"},
        {"n": "1"},
        {"model": None},
    ],
    ids=lambda more: "-".join(f"{name}={value!r}" for name, value in more.items()),
)
def test_a_body_goes_on_as_an_engine_takes_it(house: House, more: dict[str, object]) -> None:
    engine = house.engine()
    front = house.front(engine)
    said = {"model": "tiny", "prompt": "x", **more}
    assert front.post("/v1/completions", json.dumps(said).encode()).status == 200
    assert {name: engine.requests[-1][name] for name in more if name != "model"} == {
        name: value for name, value in more.items() if name != "model"
    }


def test_a_body_without_a_model_is_for_the_only_one(house: House) -> None:
    engine = house.engine()
    assert house.front(engine).post("/v1/completions", b'{"prompt":"x"}').status == 200
    assert engine.requests[-1]["model"] == "tiny"
