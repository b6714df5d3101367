# SPDX-License-Identifier: Apache-2.0
"""Engines that refuse, reset, hang, cut or answer garbage: as long as no token was sent, no client notices."""

from __future__ import annotations

import asyncio
import http.client

import pytest
from gateway_support.house import House

PLAIN = ["status:500", "status:503", "status:429", "close", "garbage", "not_json", "cut"]
STREAMED = [
    "status:500",
    "status:503",
    "close",
    "garbage",
    "garbage_stream",
    "cut_after_head",
    "not_json",
]


@pytest.mark.parametrize("mode", PLAIN)
def test_one_bad_engine_of_four_is_never_seen_by_plain_requests(house: House, mode: str) -> None:
    good, bad = [house.engine() for __ in range(3)], house.engine(mode=mode)
    front = house.front(bad, *good)
    assert [front.chat().status for __ in range(12)] == [200] * 12
    assert bad.requests
    assert sum(len(engine.requests) for engine in good) == 12


@pytest.mark.parametrize("mode", STREAMED)
def test_one_bad_engine_of_four_is_never_seen_by_streams(house: House, mode: str) -> None:
    good, bad = [house.engine() for __ in range(3)], house.engine(mode=mode)
    front = house.front(bad, *good)
    for __ in range(12):
        events = front.open_stream(max_tokens=2).events()
        assert events[-1] == "data: [DONE]", events
        assert not any("error" in event for event in events)
    assert bad.requests
    assert sum(len(engine.requests) for engine in good) == 12


def test_a_dead_engine_is_never_seen(house: House) -> None:
    good, dead = house.engine(), house.engine()
    front = house.front(good, dead)
    house.run(dead.stop())
    assert [front.chat().status for __ in range(12)] == [200] * 12


def test_an_engine_that_closed_its_idle_connection_is_asked_again(house: House) -> None:
    """The engine restarted between two requests; nobody is told, and nobody is blamed."""
    engine = house.engine()
    front = house.front(engine)
    assert front.chat().status == 200
    port = engine.port
    house.run(engine.stop())
    house.run(engine.start(port))
    assert front.chat().status == 200
    assert front.metric("engine_failures_total") == 0


def test_failures_in_a_row_take_an_engine_out_and_a_trial_brings_it_back(house: House) -> None:
    good, bad = house.engine(), house.engine(mode="status:500")
    front = house.front(good, bad, breaker_failures=2, breaker_cooldown=0.3, probe_interval=0)
    for __ in range(8):
        assert front.chat().status == 200
    assert front.metric("ejections_total") >= 1
    seen = len(bad.requests)
    assert seen < 8
    bad.mode = "ok"
    engine = next(e for e in front.gateway.fleet.registry.engines.values() if e.where.port == bad.port)
    house.until(lambda: engine.health.value == "trial")
    for __ in range(4):
        assert front.chat().status == 200
    assert engine.health.value == "closed"
    assert len(bad.requests) > seen


def test_when_all_engines_fail_the_client_gets_a_typed_error(house: House) -> None:
    front = house.front(house.engine(mode="status:500"), house.engine(mode="status:500"))
    reply = front.chat()
    assert reply.status == 502
    assert reply.json["error"]["message"] == "engine says 500"
    assert reply.json["error"]["type"] == "server_error"


def test_an_engine_that_cannot_be_reached_is_a_503_with_retry_after(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    house.run(engine.stop())
    reply = front.chat()
    assert reply.status == 503
    assert reply.headers["retry-after"]


@pytest.mark.parametrize(("told", "seen"), [(400, 400), (422, 400), (404, 404), (501, 501), (401, 502)])
def test_an_engines_refusal_comes_in_openais_shape_and_is_not_retried(house: House, told: int, seen: int) -> None:
    engines = [house.engine(mode=f"status:{told}") for __ in range(2)]
    front = house.front(*engines)
    reply = front.chat()
    assert reply.status == seen
    assert reply.json["error"]["message"]
    assert sum(len(engine.requests) for engine in engines) == 1


def test_a_stream_cut_after_tokens_never_looks_whole(house: House) -> None:
    front = house.front(house.engine(mode="cut"))
    stream = front.open_stream(max_tokens=5)
    received = b""
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        while piece := stream.head().read1():
            received += piece
    assert b"[DONE]" not in received


def test_a_stream_that_stalls_is_given_up(house: House) -> None:
    engine = house.engine(mode="stall")
    front = house.front(engine, stall_timeout=0.2, probe_interval=0)
    house.call(setattr, engine, "health", 500)  # what tells a broken engine from a slow one
    stream = front.open_stream(max_tokens=5)
    received = b""
    try:
        while piece := stream.head().read1():
            received += piece
    except Exception as error:
        assert "Incomplete" in repr(error) or "reset" in repr(error)
    assert b"engine_error" in received
    assert b"[DONE]" not in received


def test_retries_have_a_budget(house: House) -> None:
    """Failing engines must not multiply the load."""
    bad = [house.engine(mode="status:500") for __ in range(3)]
    front = house.front(*bad, breaker_failures=100000)
    house.call(setattr, front.gateway.fleet.dispatchers["tiny"], "retry_tokens", 0.0)
    front.chat()
    assert sum(len(engine.requests) for engine in bad) == 1


def test_a_stream_gets_comments_while_its_engine_thinks(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, sse_comment_interval=0.1)
    stream = front.open_stream(max_tokens=1)
    assert stream.event() == ": keep-alive"
    assert stream.event() == ": keep-alive"

    def finish() -> None:
        engine.mode = "ok"
        engine.release.set()

    house.call(finish)
    events = stream.events()
    assert events[-1] == "data: [DONE]"


def test_a_plain_request_leaves_a_stuck_engine_only_when_its_probe_fails_too(house: House) -> None:
    """A plain reply's first byte comes with its end: silence alone says nothing."""
    slow, stuck = house.engine(gap_s=0.3), house.engine(mode="hang")
    front = house.front(slow, first_byte_timeout=0.1, probe_interval=0.0)
    assert front.chat(max_tokens=2).status == 200
    assert len(slow.requests) == 1
    good = house.engine()
    front = house.front(stuck, good, first_byte_timeout=0.1, probe_interval=0.0)
    stuck.health = 503
    assert [front.chat(max_tokens=1).status for __ in range(4)] == [200] * 4
    assert stuck.requests


def test_a_slow_first_token_does_not_eject_an_engine_that_answers_others(house: House) -> None:
    busy, other = house.engine(), house.engine()
    front = house.front(busy, other, first_byte_timeout=0.3, breaker_failures=1, policy="round-robin")
    busy.mode = "hang"
    streams = [front.open_stream(max_tokens=1) for __ in range(2)]
    house.until(lambda: bool(busy.requests))
    busy.mode = "ok"
    for __ in range(4):
        front.chat()
    house.call(busy.release.set)
    assert [stream.events()[-1] for stream in streams] == ["data: [DONE]"] * 2
    assert front.metric("ejections_total") == 0


@pytest.mark.parametrize("mode", ["hang", "hang_after_head"])
def test_a_slow_first_token_is_waited_for_and_its_prompt_is_computed_once(house: House, mode: str) -> None:
    """The engine answers probes: it is slow, not broken."""
    slow, other = house.engine(mode=mode), house.engine()
    house.call(setattr, other, "health", 503)
    front = house.front(slow, other, first_byte_timeout=0.1, stall_timeout=0.2, probe_interval=0)
    stream = front.open_stream(max_tokens=2)
    house.wait(slow.seen)
    house.run(asyncio.sleep(0.8))
    assert (len(slow.requests), len(other.requests)) == (1, 0)
    slow.mode = "ok"
    house.call(slow.release.set)
    if mode == "hang":
        assert stream.events()[-1] == "data: [DONE]"
    stream.close()


def test_a_silent_engine_that_answers_no_probe_is_left(house: House) -> None:
    silent, other = house.engine(mode="hang_after_head"), house.engine()
    front = house.front(silent, other, first_byte_timeout=0.1, probe_interval=0, breaker_failures=1)
    house.call(setattr, silent, "health", 500)
    for __ in range(2):
        assert front.open_stream(max_tokens=2).events()[-1] == "data: [DONE]"
    assert len(silent.requests) == 1
    assert len(other.requests) == 2


def test_a_stream_is_not_cut_by_its_silence_or_its_length(house: House) -> None:
    engine = house.engine(gap_s=0.3)
    front = house.front(engine, stall_timeout=0.1, request_timeout=0.5, sse_comment_interval=0)
    events = front.open_stream(max_tokens=4).events()
    assert events[-1] == "data: [DONE]"
    assert not any("error" in event for event in events)
    assert front.metric("engine_failures_total") == 0


def test_idle_engines_have_their_turns_also_while_they_warm_up(house: House) -> None:
    engines = [house.engine() for __ in range(4)]
    front = house.front(*engines, slow_start=30, probe_interval=0)
    for number, engine in enumerate(front.gateway.fleet.registry.engines.values()):
        house.call(setattr, engine, "created_at", engine.created_at - 5 - number / 1000)
    house.call(front.gateway.tick)
    for __ in range(40):
        assert front.chat(max_tokens=1).status == 200
    assert min(len(engine.requests) for engine in engines) >= 7


def test_a_streams_tokens_are_counted_without_the_client_asking(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    events = front.open_stream(max_tokens=3).events()
    assert not any('"usage"' in event for event in events)
    assert engine.requests[-1]["stream_options"] == {"include_usage": True}
    house.until(lambda: not front.gateway.active)
    house.call(front.gateway.recorder.flush)
    assert front.metric('tokens_total{model="tiny",direction="prompt"}') == 7
    asked = front.open_stream(max_tokens=3, stream_options={"include_usage": True}).events()
    assert any('"usage"' in event for event in asked)
