# SPDX-License-Identifier: Apache-2.0
"""A client that leaves stops its engine; a gateway that stops leaves no client."""

from __future__ import annotations

import threading
import time

import pytest
from gateway_support.house import House


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_engine_stops_when_the_client_leaves(house: House, stream: bool) -> None:
    engine = house.engine(mode="ok" if stream else "hang", gap_s=0.02)
    front = house.front(engine)
    request = front.open_stream(max_tokens=1000, stream=stream)
    house.wait(engine.seen)
    if stream:
        assert request.event().startswith("data: ")
    left = time.monotonic()
    request.close()
    house.wait(engine.gone)
    # The promise is 100 ms; what is asserted leaves room for a busy machine.
    assert time.monotonic() - left < 2
    house.until(lambda: not front.gateway.active)
    assert front.metric('requests_total{model="tiny",status="499"') == 1
    assert all(e.in_flight == 0 for e in front.gateway.fleet.registry.engines.values())


def test_a_client_that_leaves_the_queue_is_never_asked_for(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, engine_concurrency=1)
    first = front.open_stream()
    house.wait(engine.seen)
    second = front.open_stream()
    dispatcher = front.gateway.fleet.dispatchers["tiny"]
    house.until(lambda: len(dispatcher.waiting) == 1)
    second.close()
    house.until(lambda: not dispatcher.waiting)
    first.close()
    house.until(lambda: not front.gateway.active)
    assert len(engine.requests) == 1


def test_draining_turns_unready_finishes_streams_and_ends(house: House) -> None:
    engine = house.engine(gap_s=0.02)
    front = house.front(engine, drain_delay=0.3)
    stream = front.open_stream(max_tokens=40)
    assert stream.event().startswith("data: ")
    ended = threading.Event()

    def stop() -> None:
        house.run(front.worker.stop())
        ended.set()

    threading.Thread(target=stop).start()
    house.until(lambda: front.gateway.draining)
    assert front.get("/readyz").status == 503
    assert stream.events()[-1] == "data: [DONE]"
    assert ended.wait(10)
    with pytest.raises(OSError):
        front.get("/healthz")


def test_a_drain_does_not_wait_for_ever(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, drain_timeout=0.2)
    held = front.open_stream()
    house.wait(engine.seen)
    house.run(front.worker.stop())
    house.wait(engine.gone)
    held.close()


def test_a_queued_request_gets_its_turn_and_a_full_queue_says_so(house: House) -> None:
    engine = house.engine(gap_s=0.01)
    front = house.front(engine, engine_concurrency=1, queue_size=2)
    first = front.open_stream(max_tokens=400)
    assert first.event()
    waiting = [front.open_stream(max_tokens=1) for __ in range(2)]
    house.until(lambda: len(front.gateway.fleet.dispatchers["tiny"].waiting) == 2)
    refused = front.chat()
    assert (refused.status, refused.code) == (429, "queue_full")
    assert refused.headers["retry-after"]
    assert first.events()[-1] == "data: [DONE]"
    for stream in waiting:
        assert stream.events()[-1] == "data: [DONE]"
    assert engine.most_active == 1


def test_waiting_in_the_queue_has_an_end(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, engine_concurrency=1, queue_timeout=0.2)
    held = front.open_stream()
    house.wait(engine.seen)
    reply = front.chat()
    assert (reply.status, reply.code) == (503, "queue_timeout")
    assert reply.headers["retry-after"]
    held.close()
