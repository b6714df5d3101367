# SPDX-License-Identifier: Apache-2.0
"""Random edits of random descriptors on a real API server: what is planned is what happens, and all of what is wanted is there.

Each test is one seed, so a failing one is run again by its id; LLM_ON_EKS_SEEDS=7,8 takes seeds of one's own.
"""

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import new_client, unique
from tests.support.observed import bare, claims_of_sets, happened, look, missing
from tests.support.random_descriptors import CLUSTER_WIDE, EDITS, RandomDescriptors
from tests.support.simulated_node import SimulatedNode

pytestmark = pytest.mark.apiserver
EDITS_PER_SEED = 20
_SEEDS = [int(seed) for seed in os.environ.get("LLM_ON_EKS_SEEDS", "").split(",") if seed] or range(1, 11)
# A tenth by default.
SEEDS = [seed if index == 0 else pytest.param(seed, marks=pytest.mark.full) for index, seed in enumerate(_SEEDS)]
# Dealt out by the server at the moment of the write, and only then.
_DEALT = ("clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort")


@pytest.fixture(scope="module")
def client(api_server):
    return new_client(api_server)


@pytest.fixture(scope="module", autouse=True)
def kubelet(client):
    with SimulatedNode(client) as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_planned_is_what_happens_whatever_is_edited(client, seed):
    made = RandomDescriptors(random.Random(seed), unique(f"p{seed}"))
    for __ in range(3):
        made.new_component()
    hold_to_plan(client, made, "first run")
    for number in range(EDITS_PER_SEED):
        kind = made.rng.choices(list(EDITS), weights=list(EDITS.values()))[0]
        edit = getattr(made, f"edit_{kind}")
        said = edit(client) if kind == "by_others" else edit()
        hold_to_plan(client, made, f"seed {seed}, edit {number}: {said}")
    made.gone += made.components
    made.components = []
    hold_to_plan(client, made, f"seed {seed}, removal of all")
    left = {name for name in look(client, made.prefix) if not name.startswith("Namespace ")}
    assert not left, f"seed {seed}: {left} is left"


def hold_to_plan(client, made, where):
    """One run, held to its plan, to the cluster before and after it, to the descriptors, and to a second run."""
    descriptors = made.descriptors()
    planned = engine.converge(engine.Request(lose_data=("all",), descriptors=descriptors, client=client, check=True))
    assert not planned.errors, f"{where}: {planned.errors}"
    before, claims = look(client, made.prefix), claims_of_sets(client, made.prefix)
    result = engine.converge(engine.Request(lose_data=("all",), descriptors=descriptors, client=client))
    assert not result.errors, f"{where}: {result.errors}"
    after = look(client, made.prefix)

    assert said(result) == said(planned), where
    gone = {("delete", name) for name in claims - claims_of_sets(client, made.prefix)}
    assert {(kind, name) for kind, name, __ in said(result)} == observed(before, after) | gone, where
    for action in result.actions:
        if action.after and action.verb in ("create", "update") and action.after["kind"] != "Secret":
            assert settled(action.after) == settled(after[action.subject]), f"{where}: {action.subject}"
    surprises = [note for one in result.components.values() for note in one.notes if "made" in note]
    assert not surprises, f"{where}: {surprises}"

    for component in made.components:
        for document in component["manifests"]:
            live = after.get(place(document, component))
            assert live, f"{where}: {place(document, component)} is not there"
            if "${out:" not in str(document) and document["kind"] != "Secret":
                assert not missing(document, live), f"{where}: {place(document, component)}"
    wanted = {place(one, component) for component in made.components for one in everything(component)}
    ours = {name for name, one in after.items() if "llm.on-eks/component" in one["metadata"].get("labels", {})}
    assert ours == wanted, where

    again = engine.converge(engine.Request(lose_data=("all",), descriptors=descriptors, client=client))
    assert said(again) == set(), f"{where}: a second run changed something"
    assert happened(after, look(client, made.prefix)) == set(), where
    made.gone = []


def said(result):
    """(verb, object, fields) of what was, or would be, done."""
    return {
        (action.verb, action.subject, tuple(sorted(change.path for change in action.changes)))
        for action in result.actions
    }


def observed(before, after):
    """What happened, in the plan's words: a Job that comes about, or comes about anew, is one that runs."""
    return {
        ("run" if name.startswith("Job ") and kind != "delete" else kind, name)
        for kind, name in happened(before, after)
    }


def settled(document):
    """An object without what the server deals out at the write."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in _DEALT}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(bare(document))


def everything(component):
    metadata = [{"kind": "Secret", "metadata": {"name": one["name"]}} for one in component.get("secrets", [])]
    return [
        *component["manifests"],
        *component.get("crds", []),
        *metadata,
        *(job["manifest"] for job in component["jobs"]),
    ]


def place(document, component):
    name = document["metadata"]["name"]
    if document["kind"] in CLUSTER_WIDE:
        return f"{document['kind']} {name}"
    return f"{document['kind']} {document['metadata'].get('namespace', component['namespace']['name'])}/{name}"
