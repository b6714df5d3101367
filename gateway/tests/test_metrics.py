# SPDX-License-Identifier: Apache-2.0
"""What a model's requests count is shown whole, in its own histograms, and once."""

from __future__ import annotations

import re

from llm_gateway.callers.keys import KeyStore
from llm_gateway.config.key_documents import Key
from llm_gateway.telemetry.instruments import MAX_LABEL_VALUES, MAX_LABELS, OTHER
from llm_gateway.telemetry.metrics import Metrics


def shown(metrics: Metrics, name: str) -> tuple[list[tuple[str, int]], float, int]:
    """The buckets at which a histogram's count grows, its sum and its count."""
    text = metrics.expose()
    buckets = re.findall(rf'^{name}_bucket{{[^\n]*le="([^"]*)"}} (\d+)$', text, re.MULTILINE)
    grows = [
        (bound, int(count))
        for (bound, count), before in zip(buckets, ["0", *(count for __, count in buckets)], strict=False)
        if count != before
    ]
    total = re.search(rf"^{name}_sum{{.*}} (\S+)$", text, re.MULTILINE)
    count = re.search(rf"^{name}_count{{.*}} (\d+)$", text, re.MULTILINE)
    assert total
    assert count
    return grows, float(total[1]), int(count[1])


def test_each_count_is_in_its_own_histogram_however_often_somebody_looks() -> None:
    metrics = Metrics()
    model = metrics.model("tiny")
    for __ in range(2):
        model.at_once += 1
        model.waited(2.0)
        model.took(0.3, 0.02)
        model.took_itself(0.0002)
        model.went_on(0.03)
        model.read(64)
        model.wrote(5000)
        metrics.expose()
    assert shown(metrics, "llm_gateway_queue_seconds") == ([("0.005", 2), ("2.5", 4)], 4.0, 4)
    assert shown(metrics, "llm_gateway_request_seconds") == ([("0.5", 2)], 0.6, 2)
    assert shown(metrics, "llm_gateway_time_to_first_token_seconds") == ([("0.025", 2)], 0.04, 2)
    assert shown(metrics, "llm_gateway_overhead_seconds") == ([("0.00025", 2)], 0.0004, 2)
    assert shown(metrics, "llm_gateway_time_per_output_token_seconds") == ([("0.04", 2)], 0.06, 2)
    assert metrics.token_usage.by_value["input:tiny"].total == 128
    assert metrics.token_usage.by_value["output:tiny"].total == 10000
    assert metrics.tokens.values == {("tiny", "prompt"): 128, ("tiny", "completion"): 10000}


def test_many_counts_between_two_looks_are_all_there() -> None:
    metrics = Metrics()
    model = metrics.model("tiny")
    for number in range(1000):
        model.at_once += 1
        model.took(0.3, 0.02 if number % 3 else 0.5)
        model.read(64)
    assert shown(metrics, "llm_gateway_queue_seconds") == ([("0.005", 1000)], 0.0, 1000)
    assert shown(metrics, "llm_gateway_request_seconds")[::2] == ([("0.5", 1000)], 1000)
    assert shown(metrics, "llm_gateway_time_to_first_token_seconds")[::2] == ([("0.025", 666), ("0.5", 1000)], 1000)
    assert metrics.token_usage.by_value["input:tiny"].total == 64_000


def test_models_beyond_the_lid_are_counted_together_and_those_before_it_are_not() -> None:
    metrics = Metrics()
    first = metrics.model("m-0")
    for number in range(MAX_LABEL_VALUES * 5 + 10):
        metrics.model(f"m-{number}")
    assert metrics.model("m-0") is first
    assert metrics.model("one more") is metrics.model("another") is metrics.of_model[OTHER]


def test_what_is_known_is_shown_before_its_first_request() -> None:
    """Prometheus' `increase` takes the first sample of a series as its beginning: without a 0 the first request is lost."""
    metrics = Metrics()
    metrics.model("tiny")
    metrics.expect_keys(KeyStore([(bytes(32), Key(name="first"))]))
    text = metrics.expose()
    for series in (
        'requests_total{model="tiny",status="200",reason=""}',
        'tokens_total{model="tiny",direction="prompt"}',
        'tokens_total{model="tiny",direction="completion"}',
        'key_requests_total{key="first"}',
        'key_tokens_total{key="first"}',
    ):
        assert f"llm_gateway_{series} 0\n" in text


def test_so_many_keys_that_they_would_leave_no_room_are_shown_when_they_are_used() -> None:
    metrics = Metrics()
    metrics.expect_keys(KeyStore((n.to_bytes(32, "big"), Key(name=f"k{n}")) for n in range(MAX_LABELS)))
    assert not metrics.of_key
