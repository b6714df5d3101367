# SPDX-License-Identifier: Apache-2.0
"""Policies: pure decisions over engines."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from llm_gateway.engines.routing import (
    POLICIES,
    LeastInFlight,
    PowerOfTwo,
    PrefixAffinity,
    PrefixMemory,
    QueueAware,
    SessionAffinity,
    make_policy,
    seed_of,
)


@dataclass(eq=False)
class Engine:
    name: str
    in_flight: int = 0
    queue_depth: int = 0
    kv_use: float = 0.0
    share: float = 1.0

    @property
    def seed(self) -> int:
        return seed_of(self.name)


@dataclass
class Request:
    prefix: bytes = b""
    session: bytes | None = None


def engines(count: int) -> list[Engine]:
    return [Engine(f"engine-{number}") for number in range(count)]


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_spreads_a_burst_of_different_requests(name: str) -> None:
    pool, policy = engines(4), make_policy(name)
    for number in range(400):
        request = Request(b"%d %d" % (number, number * 7919) * 200, b"s%d" % number)
        pool[policy.pick(pool, request)].in_flight += 1
    assert min(engine.in_flight for engine in pool) > 40


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_picks_among_one(name: str) -> None:
    policy = make_policy(name)
    assert [policy.pick(engines(1), Request(b"x" * 5000, b"s")) for __ in range(3)] == [0, 0, 0]


def test_least_in_flight_takes_the_idlest_and_goes_round_among_equals() -> None:
    pool, policy = engines(4), LeastInFlight()
    for engine, load in zip(pool, (3, 1, 2, 5), strict=True):
        engine.in_flight = load
    assert policy.pick(pool, Request()) == 1
    for engine in pool:
        engine.in_flight = 0
    assert len({policy.pick(pool, Request()) for __ in range(4)}) == 4


@pytest.mark.parametrize("policy", [LeastInFlight(), PowerOfTwo(random.Random(1)), QueueAware()])
def test_load_follows_the_shares(policy) -> None:
    pool = engines(2)
    pool[0].share = 3.0
    for __ in range(400):
        pool[policy.pick(pool, Request())].in_flight += 1
    assert 2.5 <= pool[0].in_flight / pool[1].in_flight <= 3.6


def test_queue_aware_avoids_long_queues_and_full_caches() -> None:
    pool, policy = engines(3), QueueAware()
    pool[0].queue_depth = 5
    pool[1].kv_use = 0.98
    assert {policy.pick(pool, Request()) for __ in range(3)} == {2}


def test_a_session_stays_and_only_the_lost_engines_sessions_move() -> None:
    pool, policy = engines(8), SessionAffinity()
    sessions = [b"session-%d" % number for number in range(400)]
    before = {session: pool[policy.pick(pool, Request(session=session))].name for session in sessions}
    assert before == {session: pool[policy.pick(pool, Request(session=session))].name for session in sessions}
    assert min(Counter(before.values()).values()) > 25
    gone = pool.pop(3)
    for session in sessions:
        after = pool[policy.pick(pool, Request(session=session))].name
        assert after == before[session] or before[session] == gone.name


def test_another_gateway_sends_a_session_to_the_same_engine() -> None:
    pool = engines(16)
    for number in range(50):
        request = Request(session=b"s%d" % number, prefix=b"p%d" % number * 300)
        assert SessionAffinity().pick(pool, request) == SessionAffinity().pick(list(pool), request)
        assert PrefixAffinity().pick(pool, request) == PrefixAffinity().pick(list(pool), request)


def test_a_session_leaves_an_engine_that_is_over_its_bound() -> None:
    pool, policy = engines(4), SessionAffinity(bound=2.0)
    home = policy.pick(pool, Request(session=b"s"))
    pool[home].in_flight = 50
    assert policy.pick(pool, Request(session=b"s")) != home


def test_a_prompt_that_grows_stays_with_its_engine() -> None:
    pool, policy = engines(8), PrefixAffinity()
    conversations = [b"c%03d " % number * 400 for number in range(40)]
    homes = [policy.pick(pool, Request(conversation)) for conversation in conversations]
    for turn in range(3):
        for number, conversation in enumerate(conversations):
            grown = conversation + b"turn %d " % turn * 300 * (turn + 1)
            assert policy.pick(pool, Request(grown)) == homes[number]
    assert policy.hits >= 120


def test_a_hot_prefix_spreads_before_it_overloads_its_engine() -> None:
    pool, policy = engines(4), PrefixAffinity(bound=1.25)
    for __ in range(200):
        pool[policy.pick(pool, Request(b"the same system prompt " * 100))].in_flight += 1
    assert max(engine.in_flight for engine in pool) <= 1.25 * 200 / 4 + 2


def test_what_a_policy_remembers_is_bounded() -> None:
    memory = PrefixMemory(capacity=1000)
    pool, policy = engines(4), PrefixAffinity(memory=memory)
    chance = random.Random(1)
    for __ in range(500):
        policy.pick(pool, Request(chance.randbytes(8000)))
    assert 100 < len(memory.young) + len(memory.old) <= 1000


def test_models_that_share_a_memory_do_not_take_each_other_s_prompts() -> None:
    memory = PrefixMemory()
    pools = {model: engines(3) for model in ("one", "two")}
    policies = {model: make_policy("prefix", model, memory) for model in pools}
    prompts = [b"%d " % number * 2000 for number in range(20)]
    homes = {
        (model, prompt): policy.pick(pools[model], Request(prompt))
        for model, policy in policies.items()
        for prompt in prompts
    }
    for (model, prompt), home in homes.items():
        assert policies[model].pick(pools[model], Request(prompt + b"and more " * 500)) == home
    assert all(policy.misses == policy.hits == len(prompts) for policy in policies.values())


def test_a_thousand_engines_are_still_used_evenly() -> None:
    pool, policy = engines(1000), LeastInFlight()
    for __ in range(5000):
        pool[policy.pick(pool, Request())].in_flight += 1
    assert max(engine.in_flight for engine in pool) <= 8
    assert min(engine.in_flight for engine in pool) >= 3
