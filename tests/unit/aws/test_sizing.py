# SPDX-License-Identifier: Apache-2.0
"""Memory maths, the choice of an instance, and advice before a start."""

from __future__ import annotations

import datetime

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.estimate.advice import (
    address_ranges,
    kubernetes_version,
    price,
)
from ansible_collections.llm.on_eks.plugins.module_utils.aws.estimate.sizing import Architecture, choose, need
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.lookups import Offering, Version

# https://huggingface.co/meta-llama/Llama-3.1-8B/blob/main/config.json
LLAMA_8B = Architecture(parameters=8_030_000_000, layers=32, kv_heads=8, head_dim=128)


def offer(name, *, memory_mib, count=1, zones=("a", "b"), vcpus=4, price=1.0):
    return Offering(name, zones, vcpus, 16384, ("x86_64",), "GPU", "NVIDIA", count, memory_mib, 0, price)


def test_a_llama_of_8_billion_takes_15_gib_and_128_kib_a_token():
    found = need(LLAMA_8B, context=8192, sequences=1)
    assert found.weights_mib == pytest.approx(8.03e9 * 2 / 2**20, abs=1)
    assert found.kv_cache_mib == 1024, "8192 tokens x 128 KiB"
    assert need(LLAMA_8B, context=8192, sequences=4).kv_cache_mib == 4096


def test_the_first_preferred_type_that_fits_is_taken_and_says_why():
    offers = [offer("g6.xlarge", memory_mib=22888, price=0.8), offer("g6e.xlarge", memory_mib=45776)]
    choice = choose(need(LLAMA_8B, context=8192), ["g6.xlarge", "g6e.xlarge"], offers, {"g": 64})
    assert (choice.instance_type, choice.price_per_hour) == ("g6.xlarge", 0.8)
    assert "weights 15.0 GiB + KV cache 1.0 GiB" in choice.reasons[0]


def test_what_is_missing_is_said_for_each_type():
    offers = [
        offer("g6.xlarge", memory_mib=22888),
        offer("g6e.xlarge", memory_mib=45776, zones=()),
        offer("p5.48xlarge", memory_mib=81920, count=8, vcpus=192),
    ]
    wanted = need(LLAMA_8B, context=131072)
    choice = choose(wanted, ["g6.xlarge", "g6e.xlarge", "p5.48xlarge", "m7i.large"], offers, {"g": 64, "p": 0})
    assert choice.instance_type == ""
    assert [reason.split(":")[1].split(";")[0].strip()[:22] for reason in choice.reasons] == [
        "too small",
        "not offered in this re",
        "needs 192 vCPUs of the",
        "not offered in this re",
    ]


def test_several_accelerators_share_a_model():
    offers = [offer("g6.12xlarge", memory_mib=22888, count=4, vcpus=48)]
    choice = choose(need(LLAMA_8B, context=131072, sequences=2), ["g6.12xlarge"], offers, {})
    assert choice.instance_type == "g6.12xlarge" and "over 4 accelerators" in choice.reasons[0]


VERSIONS = [
    Version("1.36", False, "STANDARD_SUPPORT", "2027-08-17", "2028-08-17"),
    Version("1.34", False, "STANDARD_SUPPORT", "2026-12-02", "2027-12-02"),
    Version("1.33", False, "EXTENDED_SUPPORT", "2026-07-29", "2027-07-29"),
]
TODAY = datetime.date(2026, 11, 22)


@pytest.mark.parametrize(
    ("version", "severity", "words"),
    [("1.28", "hard", "not offered"), ("1.33", "warning", "costs more"), ("1.34", "warning", "in 10 days")],
)
def test_a_version_on_its_way_out_is_said(version, severity, words):
    (advice,) = kubernetes_version(version, VERSIONS, TODAY)
    assert advice.severity == severity and words in str(advice)


def test_a_version_in_standard_support_needs_no_word():
    assert kubernetes_version("1.36", VERSIONS, TODAY) == []


def test_ranges_that_overlap_or_are_none_are_named():
    advice = address_ranges({"vpc": "10.0.0.0/16", "services": "10.0.128.0/20", "pods": "10.1.0.1/16"})
    assert [str(row)[:28] for row in advice] == ["pods is '10.1.0.1/16': 10.1.", "vpc (10.0.0.0/16) overlaps s"]
    assert address_ranges({"vpc": "10.0.0.0/16", "services": "172.20.0.0/16"}) == []


def test_the_price_of_what_starts_is_summed_and_unknown_types_are_named():
    total, lines, unknown = price({"m7i.large": 2, "x9.huge": 1}, {"eks_cluster": 1, "nat_gateway": 1})
    assert total == pytest.approx(0.3466) and len(lines) == 3 and unknown == ["x9.huge"]
