# SPDX-License-Identifier: Apache-2.0
"""Who is next: classes, shares, and nobody starves."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gateway_support.house import House

from llm_gateway.callers.fair_queue import FairQueue


@dataclass(eq=False)
class Entry:
    tenant: str
    rank: int = 1
    weight: float = 1.0
    cost: float = 10.0


def served(queue: FairQueue[Entry], count: int) -> list[str]:
    return [queue.pop().tenant for __ in range(count)]


def test_a_tenant_with_a_hundred_requests_does_not_delay_one_with_two() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for __ in range(100):
        queue.push(Entry("greedy"))
    for __ in range(2):
        queue.push(Entry("modest"))
    assert served(queue, 4).count("modest") == 2


def test_shares_follow_the_weights() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for __ in range(60):
        queue.push(Entry("a", weight=3))
        queue.push(Entry("b", weight=1))
    first = served(queue, 40)
    assert 29 <= first.count("a") <= 31


def test_dear_requests_count_for_more_than_cheap_ones() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for __ in range(40):
        queue.push(Entry("dear", cost=100))
        queue.push(Entry("cheap", cost=10))
    assert served(queue, 22).count("cheap") >= 19


def test_the_answers_cost_is_charged_too() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for __ in range(10):
        queue.push(Entry("a"))
        queue.push(Entry("b"))
    queue.charge(queue.pop(), 1000)
    assert len(set(served(queue, 8))) == 1


def test_being_away_saves_up_nothing() -> None:
    queue: FairQueue[Entry] = FairQueue()
    for __ in range(50):
        queue.push(Entry("busy"))
    served(queue, 40)
    for __ in range(20):
        queue.push(Entry("late"))
    assert 4 <= served(queue, 10).count("late") <= 6


def test_an_urgent_class_goes_first_and_order_within_a_tenant_is_kept() -> None:
    queue: FairQueue[Entry] = FairQueue()
    entries = [Entry("a", rank=2), Entry("a", rank=0), Entry("a", rank=0), Entry("b", rank=1)]
    for entry in entries:
        queue.push(entry)
    assert [queue.pop() for __ in range(4)] == [entries[1], entries[2], entries[3], entries[0]]


def test_a_long_wait_moves_up_a_class() -> None:
    queue: FairQueue[Entry] = FairQueue()
    low, high = Entry("a", rank=1), Entry("b", rank=0)
    queue.push(low)
    queue.promote(low)
    queue.push(high)
    assert {queue.pop().tenant, queue.pop().tenant} == {"a", "b"}
    assert low.rank == 0


def test_leaving_the_queue_leaves_no_trace() -> None:
    queue: FairQueue[Entry] = FairQueue()
    entry = Entry("a")
    queue.push(entry)
    assert queue.remove(entry)
    assert not queue.remove(entry)
    assert len(queue) == 0
    assert queue.peek() is None


def test_a_greedy_key_does_not_keep_another_out_of_the_queue(house: House) -> None:
    keys = house.folder / "two.txt"
    keys.write_text("sk-greedy\nsk-modest\n")
    engine = house.engine(mode="hang")
    front = house.front(engine, engine_concurrency=1, api_key_file=str(keys), first_byte_timeout=60.0)
    dispatcher = front.gateway.fleet.dispatchers["tiny"]
    streams = [front.open_stream(key="sk-greedy", max_tokens=1)]
    house.wait(engine.seen)
    for number in range(8):
        streams.append(front.open_stream(key="sk-greedy", max_tokens=1))
        house.until(lambda number=number: len(dispatcher.waiting) == number + 1)
    modest = front.open_stream(key="sk-modest", max_tokens=2)
    house.until(lambda: len(dispatcher.waiting) == 9)

    def go_on() -> None:
        engine.mode = "ok"
        engine.release.set()

    house.call(go_on)
    assert modest.events()[-1] == "data: [DONE]"
    for stream in streams:
        assert stream.events()[-1] == "data: [DONE]"
    order = [asked["max_tokens"] for asked in engine.requests]
    assert order.index(2) <= 3, order


def test_an_urgent_request_overtakes_and_a_class_out_of_scope_is_refused(house: House) -> None:
    from hashlib import sha256

    folder = house.folder / "keys"
    folder.mkdir()
    (folder / "all").write_text("sha256:" + sha256(b"sk-test").hexdigest())
    (folder / "bulk").write_text(json.dumps({"sha256": sha256(b"sk-bulk").hexdigest(), "classes": ["low"]}))
    engine = house.engine(mode="hang")
    front = house.front(engine, engine_concurrency=1, keys_dir=str(folder))
    assert front.chat(key="sk-bulk", headers={"x_priority": "high"}).code == "class_not_allowed"
    assert front.chat(headers={"x_priority": "urgent"}).status == 400
    held = front.open_stream()
    house.wait(engine.seen)
    dispatcher = front.gateway.fleet.dispatchers["tiny"]
    waiting = []
    for key in ("sk-bulk", "sk-test"):
        waiting.append(front.open_stream(key=key))
        house.until(lambda: len(dispatcher.waiting) == len(waiting))
    assert [entry.caller.name for entry in dispatcher.waiting] == ["all", "bulk"]
    for stream in (held, *waiting):
        stream.close()
