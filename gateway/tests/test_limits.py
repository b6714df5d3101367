# SPDX-License-Identifier: Apache-2.0
"""Limits: windows that are exact, tokens reserved and settled, headers that OpenAI's clients read, and one count over processes."""

from __future__ import annotations

import json
import os
import threading

import openai
import pytest
from gateway_support.house import KEY, House

from llm_gateway.callers.ledger import Ledger
from llm_gateway.callers.limits import Limiter, Rules, Subject, shown_time
from llm_gateway.errors import ApiError, ConfigError


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(slots=1024)


def subjects(**rules: float) -> list[Subject]:
    return [Subject("key", "a", Rules(**rules))]


def admitted(limiter: Limiter, wanted: list[Subject], count: int, tokens: float = 1) -> int:
    passed = 0
    for __ in range(count):
        try:
            limiter.admit(wanted, tokens)
            passed += 1
        except ApiError:
            pass
    return passed


def numbers(ledger: Ledger, name: str) -> list[float]:
    record = ledger.peek(name)
    assert record is not None
    fields = (
        "start",
        "requests",
        "tokens",
        "requests_before",
        "tokens_before",
        "before_at",
        "last_at",
        "budget_start",
        "budget_used",
        "used_requests",
        "used_prompt",
        "used_completion",
    )
    return [*(getattr(record, field) for field in fields), ledger.in_flight(record)]


def test_a_fresh_key_gets_exactly_its_requests(ledger: Ledger, clock: Clock) -> None:
    assert admitted(Limiter(ledger, clock), subjects(requests=60), 100) == 60


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "n"])
def test_a_number_that_no_engine_can_mean_is_a_400(house: House, field: str) -> None:
    front = house.front(house.engine(), limit_tokens_per_minute=1000)
    for number in (10**16, 10**400, -(10**400)):
        assert front.chat(**{field: number}).status == 400


def test_less_than_nothing_is_not_reserved(house: House) -> None:
    # llama.cpp takes -1 for an answer without end; for the limits that is an answer of unknown length, never a credit.
    front = house.front(house.engine(mode="hang"), limit_tokens_per_minute=1000, limit_reserve_tokens=100)
    stream = front.open_stream(max_tokens=-1_000_000)
    house.until(lambda: front.gateway.active)
    assert 100 < front.gateway.ledger.record("key:key-1").tokens < 200
    stream.close()


def test_no_burst_at_a_minutes_edge_gets_twice_the_limit(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    assert admitted(limiter, subjects(requests=60), 1) == 1
    clock.now += 59
    assert admitted(limiter, subjects(requests=60), 100) == 59
    clock.now += 2
    assert admitted(limiter, subjects(requests=60), 100) <= 2


def test_in_the_long_run_a_key_gets_its_rate(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    passed = 0
    for __ in range(600):
        passed += admitted(limiter, subjects(requests=60), 3)
        clock.now += 1
    assert 540 <= passed <= 660


def test_the_time_to_wait_is_true(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    admitted(limiter, subjects(requests=10), 10)
    clock.now += 20
    with pytest.raises(ApiError) as refused:
        limiter.admit(subjects(requests=10), 1)
    clock.now += refused.value.retry_after_s - 0.01
    assert admitted(limiter, subjects(requests=10), 1) == 0
    clock.now += 0.02
    assert admitted(limiter, subjects(requests=10), 1) == 1


def test_tokens_are_reserved_and_settled(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    ticket = limiter.admit(subjects(tokens=1000), 900)
    with pytest.raises(ApiError) as refused:
        limiter.admit(subjects(tokens=1000), 200)
    assert refused.value.code == "rate_limit_exceeded"
    ticket.settle(50, 50)
    ticket.settle(50, 50)  # a second time changes nothing
    assert ledger.record("key:a").tokens == 100
    assert admitted(limiter, subjects(tokens=1000), 1, 900) == 1


def test_a_request_that_can_never_pass_is_refused(ledger: Ledger, clock: Clock) -> None:
    with pytest.raises(ApiError):
        Limiter(ledger, clock).admit(subjects(tokens=100), 101)


def test_a_budget_lasts_for_its_period_and_then_begins_anew(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    wanted = subjects(budget=100, budget_period_s=3600)
    limiter.admit(wanted, 60).settle(50, 40)
    with pytest.raises(ApiError) as refused:
        limiter.admit(wanted, 20)
    assert refused.value.code == "insufficient_quota"
    clock.now += 3601
    assert admitted(limiter, wanted, 1, 20) == 1


def test_requests_at_once_are_given_back(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    first = limiter.admit(subjects(concurrency=2), 1)
    limiter.admit(subjects(concurrency=2), 1)
    assert admitted(limiter, subjects(concurrency=2), 3) == 0
    first.settle(1, 1)
    assert admitted(limiter, subjects(concurrency=2), 3) == 1


def test_a_request_refused_by_its_model_costs_its_key_nothing(ledger: Ledger, clock: Clock) -> None:
    limiter = Limiter(ledger, clock)
    key = Subject("key", "a", Rules(requests=10, tokens=100, concurrency=5))
    model = Subject("model", "m", Rules(requests=1))
    limiter.admit([key, model], 10)
    before = numbers(ledger, "key:a")
    assert admitted(limiter, [key, model], 5, 10) == 0
    assert numbers(ledger, "key:a") == before


def test_without_redis_each_gateway_allows_its_share() -> None:
    shared = Rules(requests=100, tokens=1001, concurrency=3, budget=10).share(4)
    assert (shared.requests, shared.tokens, shared.concurrency, shared.budget) == (25, 250, 1, 2)


@pytest.mark.parametrize(("seconds", "shown"), [(0.012, "12ms"), (1.5, "1.5s"), (59.9, "59.9s"), (360, "6m0s")])
def test_times_are_written_as_openai_does(seconds: float, shown: str) -> None:
    assert shown_time(seconds) == shown


def test_a_process_that_had_to_wait_for_its_turn_does_not_begin_the_minute_again() -> None:
    """It looked at the clock before another one began the minute."""
    times = iter([1000.0, 999.5, 999.6])
    limiter = Limiter(Ledger(), lambda: next(times))
    key = subjects(requests=2, budget=100)
    limiter.admit(key, 10)
    limiter.admit(key, 10)
    with pytest.raises(ApiError):
        limiter.admit(key, 10)


@pytest.mark.programs
def test_processes_share_one_count_exactly() -> None:
    """Four processes ask as fast as they can: together they get the limit, not one more."""
    ledger = Ledger(4, slots=1024)
    read, write = os.pipe()
    children = []
    for worker in range(4):
        child = os.fork()
        if child == 0:
            ledger.worker = worker
            limiter = Limiter(ledger)
            passed = admitted(limiter, subjects(requests=500, tokens=1e6, concurrency=1e6), 400, 2)
            os.write(write, f"{passed}\n".encode())
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as results:
        assert sum(int(line) for line in results) == 500
    record = ledger.peek("key:a")
    assert record is not None
    assert record.tokens == 1000
    assert ledger.in_flight(record) == 500
    for worker in range(4):
        ledger.forget_worker(worker)
    assert ledger.in_flight(record) == 0


@pytest.mark.programs
def test_a_process_that_dies_with_a_lock_blocks_nobody() -> None:
    ledger = Ledger(2, slots=1024)
    record = ledger.record("key:a")
    child = os.fork()
    if child == 0:
        ledger.worker = 1
        ledger.set_mine(record, 3)
        with ledger.held(record):
            os._exit(9)
    os.waitpid(child, 0)
    with ledger.held(record):
        pass
    assert ledger.in_flight(record) == 3


def test_a_budget_outlives_a_restart_in_its_file(tmp_path, clock: Clock) -> None:
    path = str(tmp_path / "state")
    Limiter(Ledger(path=path, slots=1024), clock).admit(subjects(budget=100), 90)
    again = Limiter(Ledger(path=path, slots=1024), clock)
    with pytest.raises(ApiError):
        again.admit(subjects(budget=100), 20)
    with pytest.raises(ConfigError, match="state file"):
        Ledger(path=str(tmp_path / "no" / "folder"))


def test_a_full_ledger_refuses_limited_keys_and_leaves_room_for_engines(clock: Clock) -> None:
    ledger = Ledger(slots=64)
    limiter = Limiter(ledger, clock)
    names = [str(number) for number in range(40)]
    refused = 0
    for name in names:
        try:
            limiter.admit([Subject("key", name, Rules(requests=1))], 1)
        except ApiError as error:
            assert (error.status, error.code) == (503, "limits_full")
            refused += 1
    assert 8 <= refused < 20
    ledger.record("engine:x")


def test_a_key_over_its_requests_gets_429_with_the_headers_clients_read(house: House) -> None:
    front = house.front(house.engine(), limit_requests_per_minute=3)
    replies = [front.chat() for __ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0", "0"]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
    assert replies[4].headers["x-ratelimit-reset-requests"]
    assert 0 < int(replies[4].headers["retry-after"]) <= 61
    client = openai.OpenAI(base_url=front.url + "/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        client.completions.create(model="tiny", prompt="x")
    assert refused.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("usage", [True, False], ids=["usage told", "events counted"])
def test_a_streams_tokens_count(house: House, usage: bool) -> None:
    front = house.front(house.engine(), limit_tokens_per_minute=1000)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    stream = front.open_stream(max_tokens=40, **options)
    assert stream.head().headers["x-ratelimit-limit-tokens"] == "1000"
    assert stream.events()[-1] == "data: [DONE]"
    house.until(lambda: not front.gateway.active)
    record = front.gateway.ledger.record("key:key-1")
    used = record.tokens
    assert 40 <= used <= 60


def test_a_refused_or_failed_request_gives_its_tokens_back(house: House) -> None:
    front = house.front(house.engine(mode="status:400"), limit_tokens_per_minute=1000, limit_concurrency=2)
    for __ in range(5):
        assert front.chat(max_tokens=900).status == 400
    record = front.gateway.ledger.record("key:key-1")
    house.until(lambda: record.tokens == 0)
    assert front.gateway.ledger.in_flight(record) == 0


def test_requests_at_once_are_limited_and_freed_when_the_client_leaves(house: House) -> None:
    engine = house.engine(mode="hang")
    front = house.front(engine, limit_concurrency=1)
    held = front.open_stream()
    house.wait(engine.seen)
    refused = front.chat()
    assert (refused.status, refused.code) == (429, "concurrency_limit_exceeded")
    held.close()
    house.until(lambda: not front.gateway.active)
    engine.mode = "ok"
    assert front.chat().status == 200


def test_a_client_that_asks_again_at_once_is_not_over_its_concurrency(house: House) -> None:
    front = house.front(house.engine(), limit_concurrency=1)
    assert [front.chat().status for __ in range(40)] == [200] * 40


def test_many_at_once_never_exceed_the_concurrency(house: House) -> None:
    engine = house.engine(gap_s=0.01)
    front = house.front(engine, limit_concurrency=3)
    statuses: list[int] = []

    def ask() -> None:
        for __ in range(6):
            statuses.append(front.chat(max_tokens=2).status)

    threads = [threading.Thread(target=ask) for __ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.most_active <= 3
    assert statuses.count(200) >= 3


def test_a_keys_own_limits_win_and_a_models_limits_hold_for_all_keys(house: House) -> None:
    from hashlib import sha256

    folder = house.folder / "keys"
    folder.mkdir()
    for name, limits in (("small", {"requests_per_minute": 1}), ("free", {"requests_per_minute": 0})):
        document = {"sha256": sha256(f"sk-{name}".encode()).hexdigest(), "limits": limits}
        (folder / name).write_text(json.dumps(document))
    front = house.front(
        house.engine(),
        keys_dir=str(folder),
        limit_requests_per_minute=2,
        models={"tiny": {"limits": {"requests_per_minute": 4}}},
    )
    assert [front.chat(key="sk-small").status for __ in range(2)] == [200, 429]
    assert [front.chat(key="sk-free").status for __ in range(4)] == [200, 200, 200, 429]
