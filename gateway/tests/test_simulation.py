# SPDX-License-Identifier: Apache-2.0
"""`llm-gateway simulate`: the policies' own objects, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llm_gateway.callers.limits import Rules
from llm_gateway.cli import main
from llm_gateway.errors import ConfigError
from llm_gateway.simulation.engine import EngineModel, SimulatedEngine
from llm_gateway.simulation.run import Installation, simulate
from llm_gateway.simulation.trace import BLOCK_TOKENS, WORKLOADS, Asked, read_trace, synthetic

CHATS = synthetic("conversations", 60, 60, seed=3)


def asked(at_s: float, *blocks: int, prompt: int = 1280, output: int = 10) -> Asked:
    return Asked(at_s, prompt, output, blocks)


def test_a_repeated_prompt_is_not_computed_again() -> None:
    engine = SimulatedEngine("e", EngineModel(prefill_tokens_per_s=1000, token_s=0.01, token_s_per_running=0))
    blocks = tuple(range(10))
    assert engine.start(asked(0, *blocks), 0.0)[0] == pytest.approx(1.29)
    first, end = engine.start(asked(9, *blocks), 9.0)
    assert first == pytest.approx(9.0 + 1 / 1000 + 0.01)  # one token is always computed
    assert end == pytest.approx(first + 9 * 0.01)


def test_a_cache_forgets_what_was_used_last_and_the_ends_before_the_beginnings() -> None:
    engine = SimulatedEngine("e", EngineModel(cache_tokens=3 * BLOCK_TOKENS))
    engine.start(asked(0, 1, 2, 3), 0.0)
    engine.start(asked(1, 9), 1.0)
    cached = engine.cached_tokens
    engine.start(asked(2, 1, 2, 3), 2.0)
    assert engine.cached_tokens - cached == 2 * BLOCK_TOKENS


def test_requests_over_the_slots_wait_for_one() -> None:
    result = simulate(
        [asked(0), asked(0), asked(0)], "round-robin", Installation(engines=1, model=EngineModel(slots=1))
    )
    assert result.requests == len(result.ttft_s) == 3
    assert result.ttft(0.99) > 2 * result.ttft(0)


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_synthetic_workload_is_repeatable_and_keeps_its_rate(workload: str) -> None:
    one, other = synthetic(workload, 50, 400, seed=1), synthetic(workload, 50, 400, seed=1)
    assert one == other
    assert one != synthetic(workload, 50, 400, seed=2)
    assert 0.6 * 50 * 400 < len(one) < 1.4 * 50 * 400


@pytest.mark.parametrize(
    "policy", ["least-in-flight", "power-of-two", "round-robin", "prefix", "session", "queue-aware"]
)
def test_every_policy_serves_every_request_the_same_way_twice(policy: str) -> None:
    installation = Installation(engines=20, gateways=3)
    one, other = simulate(CHATS, policy, installation), simulate(CHATS, policy, installation)
    assert len(one.ttft_s) == len(CHATS)
    assert (one.hit_ratio, one.busy_s) == (other.hit_ratio, other.busy_s)


@pytest.mark.parametrize("policy", ["prefix", "session"])
def test_affinity_finds_more_of_the_prompts_in_caches(policy: str) -> None:
    installation = Installation(engines=40)
    assert (
        simulate(CHATS, policy, installation).hit_ratio > simulate(CHATS, "round-robin", installation).hit_ratio + 0.1
    )


def test_gateways_that_count_alone_admit_no_more_than_the_limit_in_all() -> None:
    requests = [Asked(n * 0.01, 10, 1, key="k") for n in range(5000)]
    rules = Rules(requests=600)
    alone = simulate(requests, "round-robin", Installation(engines=50, gateways=8, limit=rules))
    together = simulate(requests, "round-robin", Installation(engines=50, gateways=8, limit=rules, shared_limits=True))
    assert together.admitted_by_key["k"] == 600
    assert 500 < alone.admitted_by_key["k"] <= 600
    assert alone.refused + alone.admitted_by_key["k"] == 5000


def test_traces_of_three_kinds_are_read(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 2000, "input_length": 1024, "output_length": 5, "hash_ids": [7, 8]},
        {
            "time": 11.5,
            "request_id": "x",
            "key": "k",
            "status": 200,
            "duration_s": 1.5,
            "prompt_tokens": 9,
            "completion_tokens": 3,
        },
        {"time": 11.5, "request_id": "y", "key": "k", "status": 503, "duration_s": 0.1},
        {"at": 1, "prompt_tokens": 300, "output_tokens": 4, "blocks": [1, 2], "session": "s"},
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    found = read_trace(file)
    assert [one.at_s for one in found] == [0, 1, 9]
    assert found[0].session == b"s"
    assert len(found[1].blocks) == 1024 // BLOCK_TOKENS
    assert (found[2].prompt_tokens, found[2].output_tokens) == (9, 3)


@pytest.mark.parametrize("text", ["", "nonsense", '{"at":1}', "[1]", '{"at":"x","prompt_tokens":1,"output_tokens":1}'])
def test_a_trace_that_cannot_be_read_is_said_to_in_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "trace"
    file.write_text(text)
    with pytest.raises(ConfigError, match="trace"):
        read_trace(file)


def test_the_command_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    arguments = ["simulate", "conversations", "--rate", "20", "--duration", "20", "--engines", "5", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "prefix" in printed
    text = out.read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    drawings = [part.partition("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    assert len(drawings) == 3
    for drawing in drawings:
        ElementTree.fromstring("<svg" + drawing)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none.jsonl"], "none.jsonl"),
        (["agents", "--policies", "best"], "best"),
        (["agents", "--engines", "0"], "--engines"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_a_sentence(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *arguments]) == 2
    assert word in capsys.readouterr().err
