# SPDX-License-Identifier: Apache-2.0
"""How large a model is taken to be, and that every assumption is said."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.estimate.model_size import (
    Given,
    estimate,
    parameters_in,
    parse_parameters,
    published_like,
)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-3.1-8b", 8_000_000_000),
        ("Qwen2.5-0.5B-Instruct", 500_000_000),
        ("gemma3-270m", 270_000_000),
        ("mixtral-8x7b", 56_000_000_000),
        ("qwen3-30b-a3b", 30_000_000_000),
        ("phi-4", 14_700_000_000),
        ("BAAI/bge-m3", 568_000_000),
        ("my-bge-m30", 0),
        ("model-b2", 0),
    ],
)
def test_parameters_are_read_from_a_name(name, parameters):
    assert parameters_in(name) == parameters


@pytest.mark.parametrize(("text", "number"), [("8B", 8e9), ("270M", 270e6), ("8.03e9", 8.03e9), (" 1.5b ", 1.5e9)])
def test_parameters_are_taken_as_people_write_them(text, number):
    assert parse_parameters(text) == int(number)


@pytest.mark.parametrize("text", ["many", "-3", "0"])
def test_parameters_that_are_no_number_are_refused(text):
    with pytest.raises(ValueError):
        parse_parameters(text)


def test_what_is_said_goes_before_what_is_guessed():
    found = estimate(Given("x-8b", parameters="1B", quantization="fp8", context=1024))
    assert found.need.weights_mib == pytest.approx(1e9 / 2**20, abs=1)
    assert not any("name" in words for words in found.assumed)


def test_weights_that_are_known_are_taken_as_they_are():
    assert estimate(Given("x-8b", weights_gib=4)).need.weights_mib == 4096
    here = estimate(Given("x", file_size_bytes=2**30))
    assert here.need.weights_mib == 1024 and "537M parameters (from the size of the weights)" in here.assumed


@pytest.mark.parametrize(("name", "gib"), [("x-8b", 14.9), ("x-8b-awq", 5.3), ("x-8b-q4-k-m", 4.6), ("x-8B-FP8", 7.5)])
def test_a_name_that_speaks_of_quantization_is_believed(name, gib):
    assert estimate(Given(name)).need.weights_mib / 1024 == pytest.approx(gib, abs=0.1)


def test_a_size_that_nobody_can_tell_is_none():
    assert estimate(Given("mystery")).need is None


def test_the_layers_are_those_of_a_published_model_at_least_as_large():
    assert published_like(8_000_000_000) == (32, 8, 128)
    assert published_like(9_000_000_000) == (48, 8, 128)
    assert published_like(10**12) == (126, 8, 128)
