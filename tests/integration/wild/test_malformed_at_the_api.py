# SPDX-License-Identifier: Apache-2.0
"""Mutated manifests at check mode against a real API server: one sentence each, never a traceback, never an accepted nonsense."""

import copy
import random
import re

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import component
from tests.support.random_manifests import MAKERS

pytestmark = pytest.mark.apiserver
NONSENSE = (None, "", "x", 0, 7, -1.5, True, [], {}, ["a"], {"a": 1}, [None], "a=b", "ä" * 300)


@pytest.fixture
def home(kubectl, name):
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def mutated(rng, name):
    """A sound manifest of a common kind with one or two places replaced or taken out."""
    made = rng.choice(list(MAKERS.values()))(rng, name)
    for __ in range(rng.randint(1, 2)):
        node, path = made, []
        while isinstance(node, dict | list) and node and (not path or rng.random() < 0.8):
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            path.append((node, key))
            node = node[key]
        if path:
            holder, key = path[-1]
            if rng.random() < 0.75:
                holder[key] = copy.deepcopy(rng.choice(NONSENSE))
            else:
                del holder[key]
    return made


def hold_to_sentences(client, name, seed):
    document = mutated(random.Random(seed), f"m{seed}")
    try:
        run = engine.converge(
            engine.Request(
                descriptors=[{**component(name), "manifests": [document]}],
                client=client,
                check=True,
            )
        )
        said = run.errors
    except LlmOnEksError as error:
        said = [str(error)]
    for text in said:
        assert text.strip() and "Traceback" not in text and len(text) < 1200, (seed, text)
        assert re.match(rf"(component )?{name}: ", text), (seed, text)
    return bool(said)


def test_mutated_manifests_end_in_sentences(client, home):
    refused = sum(hold_to_sentences(client, home, seed) for seed in range(80))
    assert refused > 20, "the mutations are too tame"


@pytest.mark.full
def test_thousands_of_mutated_manifests_end_in_sentences(client, home):
    for seed in range(80, 3000):
        hold_to_sentences(client, home, seed)


def test_a_wait_for_a_kind_that_nobody_serves_is_refused_by_the_plan(client, home):
    described = {**component(home), "wait": [{"kind": "Nonesuch", "name": "x", "timeout": 2}]}
    (error,) = engine.converge(engine.Request(descriptors=[described], client=client, check=True)).errors
    assert "the cluster serves no Nonesuch" in error
