# SPDX-License-Identifier: Apache-2.0
"""An engine's replies are understood the same, in one piece or in many."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
from gateway_support.transport import Transport

from llm_gateway.engines.connection import EngineConnection, whole_chunks
from llm_gateway.engines.engine import Engine
from llm_gateway.errors import EngineError
from llm_gateway.http.outbox import Outbox


class Receiver:
    def __init__(self) -> None:
        self.heard: list[object] = []
        self.body = b""

    def reply_head(self, connection: EngineConnection) -> None:
        self.heard.append((connection.status, connection.content_type))

    def reply_data(self, data: bytes) -> None:
        self.body += data

    def reply_chunks(self, chunks: bytes, body: bytes) -> None:
        assert len(chunks) > len(body)
        self.reply_data(body)

    def whole_reply(self, connection: EngineConnection, body: bytes) -> None:
        self.reply_head(connection)
        self.reply_data(body)
        self.reply_ended()

    def reply_ended(self) -> None:
        self.heard.append(self.body)

    def reply_failed(self, error: EngineError) -> None:
        self.heard.append(error.kind)


def heard(data: bytes, pieces: int) -> tuple[list[object], bool]:
    engine = Engine("127.0.0.1", 1)
    connection = EngineConnection(engine)
    connection.connection_made(Transport())
    receiver = Receiver()
    connection.send(receiver, b"x")
    size = max(1, -(-len(data) // pieces))
    for start in range(0, len(data), size):
        if connection.receiver is receiver:
            connection.data_received(data[start : start + size])
    if connection.receiver is receiver:
        connection.connection_lost(None)
    return receiver.heard, connection in engine.idle_connections()


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


CASES = [
    head(b"content-type: application/json", b"content-length: 2") + b"{}",
    head(b"Date: now", b"Content-Length: 2", b"Server: x", b"Content-Type: application/json", b"X: y") + b"{}",
    head(b"content-length: 2") + b"{}",
    head(b"content-length:2") + b"{}",
    head(b"content-length: 0") + b"",
    head(b"content-length: 2", b"connection: close") + b"{}",
    head(b"content-length: 2", b"content-length: 3") + b"{} ",
    head(b"content-length: 2", b"transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    head(b"transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    head(b"content-length: 5") + b"{}",
    head(b"content-type: text/event-stream", b"content-length: 9") + b"data: x\n\n",
    head(b"content-type: a", b"content-type: b", b"content-length: 2") + b"{}",
    head(b"content-type: a", b"content-length: 2", b"content-type: b") + b"{}",
    head(b"content-type: \t a ", b"content-length: 2") + b"{}",
    head(b"content-type:  a  ", b"content-length: 2") + b"{}",
    head(b"content-length: 2", b"proxy-connection: close") + b"{}",
    head(b"content-length: 2", status=b"503 Busy") + b"{}",
    head(b"x y: z", b"content-length: 2") + b"{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" + head(b"content-length: 2") + b"{}",
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    head(b"content-type: application/json") + b"{}",
    head(b"transfer-encoding: Chunked", b"content-type: text/event-stream")
    + b"9\r\ndata: x\n\n\r\n" * 3
    + b"0\r\n\r\n",
    head(b"transfer-encoding: chunked") + b"5;a=b\r\nhello\r\n00\r\n\r\n",
    head(b"transfer-encoding: gzip") + b"5\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("data", CASES)
def test_a_reply_in_one_piece_is_what_it_is_in_many(data: bytes) -> None:
    whole = heard(data, 1)
    assert whole == heard(data, len(data)) == heard(data, 3)


def test_a_head_of_many_lines_takes_no_time() -> None:
    lines = [b"x-%d: %s" % (number, b"y" * 50) for number in range(2000)]
    began = time.process_time()
    heard(head(*lines, b"content-length: x"), 1)
    assert time.process_time() - began < 1


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


STREAM = head(b"transfer-encoding: chunked", b"content-type: text/event-stream")


@pytest.mark.parametrize(
    "pieces",
    [
        [STREAM, chunk(b"a"), chunk(b"b") + chunk(b"c"), b"0\r\n\r\n"],
        [STREAM + chunk(b"a"), chunk(b"bc"), b"0\r\n\r\n"],
        [STREAM, chunk(b"a") + b"2\r\nb", b"c\r\n", b"0\r\n\r\n"],
        # Python would read such a number.
        [STREAM, b"0x1\r\na\r\n", b"0\r\n\r\n"],
        [STREAM, b"1_1\r\n" + b"a" * 17 + b"\r\n", b"0\r\n\r\n"],
        # What looks like a chunk inside one is text.
        [STREAM, b"6\r\na", chunk(b"")[:0] + b"bc\r\n3" + b"\r\n", b"0\r\n\r\n"],
    ],
)
def test_chunks_are_understood_the_same_wherever_they_are_cut(pieces: list[bytes]) -> None:
    engine = Engine("127.0.0.1", 1)
    connection = EngineConnection(engine)
    connection.connection_made(Transport())
    receiver = Receiver()
    connection.send(receiver, b"x")
    for piece in pieces:
        connection.data_received(piece)
    assert (receiver.heard, connection in engine.idle_connections()) == heard(b"".join(pieces), len(b"".join(pieces)))


@pytest.mark.parametrize("size", [1, 9, 15, 16, 300])
def test_whole_chunks_go_past_the_parser(size: int) -> None:
    assert whole_chunks(chunk(b"a" * size)) == b"a" * size
    assert whole_chunks(chunk(b"a" * size).upper() + chunk(b"b")) == b"A" * size + b"b"


@pytest.mark.parametrize(
    "data", [b"0x1\r\na\r\n", b"0X1\r\na\r\n", b"1_0\r\n" + b"a" * 16 + b"\r\n", b"0\r\n\r\n", b"1\r\na"]
)
def test_what_is_no_whole_chunk_does_not(data: bytes) -> None:
    assert whole_chunks(data) == b""


def test_text_that_looks_like_a_chunk_stays_text() -> None:
    inner = chunk(b"x")
    engine = Engine("127.0.0.1", 1)
    connection = EngineConnection(engine)
    connection.connection_made(Transport())
    receiver = Receiver()
    connection.send(receiver, b"x")
    for piece in (STREAM + b"%x\r\n" % (3 * len(inner)), inner, inner, inner + b"\r\n", b"0\r\n\r\n"):
        connection.data_received(piece)
    assert receiver.heard[-1] == inner * 3


def test_an_engine_s_next_reply_may_have_another_head() -> None:
    engine = Engine("127.0.0.1", 1)
    connection = EngineConnection(engine)
    connection.connection_made(Transport())
    for lines, body, kind in (
        ((b"content-type: application/json", b"content-length: 2"), b"{}", b"application/json"),
        ((b"content-type: application/json", b"content-length: 12"), b"{}" * 6, b"application/json"),
        ((b"content-type: text/plain", b"content-length: 2"), b"no", b"text/plain"),
        ((b"content-length: 3",), b"{ }", b""),
    ):
        receiver = Receiver()
        connection.send(receiver, b"x")
        connection.data_received(head(*lines) + body)
        assert receiver.heard == [(200, kind), body]


def test_idle_connections_are_taken_again_last_in_first_out_but_no_closed_one() -> None:
    engine = Engine("127.0.0.1", 1)
    first, second, third, fourth = connections = [EngineConnection(engine) for __ in range(4)]
    for connection in connections:
        connection.connection_made(Transport())
        engine.keep(connection)
    third.connection_lost(None)
    assert engine.idle_connections() == [fourth, second, first]
    second.eof_received()  # it closes, and this connection is lost in one of the loop's next turns
    assert [engine.take(), engine.take(), engine.take()] == [fourth, first, None]
    second.connection_lost(None)
    engine.keep(first)
    engine.keep(fourth)
    engine.close_idle()
    assert engine.take() is None
    assert first.closed
    assert fourth.closed


def test_a_lost_connection_leaves_nothing_for_the_garbage_collection() -> None:
    def alive() -> int:
        return sum(type(thing) is EngineConnection for thing in gc.get_objects())  # pylint: disable=unidiomatic-typecheck

    gc.collect()
    gc.disable()
    try:
        before = alive()
        engine = Engine("127.0.0.1", 1)
        connection = EngineConnection(engine)
        connection.connection_made(Transport())
        connection.send(Receiver(), b"x")
        connection.data_received(STREAM + chunk(b"a"))
        connection.abort()
        connection.connection_lost(None)
        del connection
        assert alive() == before
    finally:
        gc.enable()


def test_requests_keep_their_order_however_they_are_sent() -> None:
    async def work() -> bytes:
        transport = Transport()
        connection = EngineConnection(Engine("127.0.0.1", 1, outbox=Outbox()))
        connection.connection_made(transport)
        connection.send(Receiver(), b"1")
        connection.send(Receiver(), b"2 ", b"and its large body")
        connection.send(Receiver(), b" 3")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return transport.sent

    assert asyncio.run(work()) == b"12 and its large body 3"
