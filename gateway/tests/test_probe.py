# SPDX-License-Identifier: Apache-2.0
"""Which engines a round of probes asks."""

from __future__ import annotations

import pytest

from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.probe import MOST_IN_TURN, TURN_ROUNDS, ProbeRounds, needs_probe

NOW = 1000.0


def busy(count: int) -> list[Engine]:
    """Engines that have just answered somebody."""
    found = [Engine(f"10.0.{number // 250}.{number % 250}", 80) for number in range(count)]
    for engine in found:
        engine.models = frozenset({"tiny"})
        engine.heard_at = NOW
    return found


def test_an_engine_that_answers_requests_need_not_be_probed() -> None:
    (engine,) = busy(1)
    assert not needs_probe(engine, NOW - 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("heard_at", NOW - 6), ("models", frozenset()), ("health", Health.OPEN), ("health", Health.TRIAL)],
)
def test_one_that_is_quiet_unknown_or_has_failed_must(name: str, value: object) -> None:
    (engine,) = busy(1)
    setattr(engine, name, value)
    assert needs_probe(engine, NOW - 5)


@pytest.mark.parametrize(("name", "value"), [("serving", False), ("drained", True)])
def test_one_that_gets_no_requests_may_be_quiet(name: str, value: object) -> None:
    (engine,) = busy(1)
    engine.heard_at = 0.0
    setattr(engine, name, value)
    assert not needs_probe(engine, NOW - 5)
    engine.models = frozenset()
    assert needs_probe(engine, NOW - 5)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 40, 120])
def test_each_has_its_turn_within_six_rounds(count: int) -> None:
    engines, rounds = busy(count), ProbeRounds(5.0)
    asked = [engine for __ in range(TURN_ROUNDS) for engine in rounds.due(engines, NOW)]
    assert set(asked) == set(engines)


def test_of_hundreds_only_some_are_asked_in_one_round_and_all_in_the_end() -> None:
    engines, rounds = busy(400), ProbeRounds(5.0)
    of_round = [rounds.due(engines, NOW) for __ in range(400 // MOST_IN_TURN)]
    assert {len(due) for due in of_round} == {MOST_IN_TURN}
    assert {engine for due in of_round for engine in due} == set(engines)
    for engine in engines[:100]:
        engine.heard_at = 0.0
    due = rounds.due(engines, NOW)
    assert set(due) >= set(engines[:100])
    assert len(due) == len(set(due))


def test_engines_may_come_and_go_between_rounds() -> None:
    rounds = ProbeRounds(5.0)
    assert rounds.due([], NOW) == []
    engines = busy(50)
    assert len(rounds.due(engines, NOW)) == 9
    assert rounds.due(engines[:1], NOW) == engines[:1]
    assert rounds.due([], NOW) == []
