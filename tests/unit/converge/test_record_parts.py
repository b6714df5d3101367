# SPDX-License-Identifier: Apache-2.0
"""Records of several parts are deleted whole, also by the run after one that died while it deleted them."""

from __future__ import annotations

import os

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.identity import identity
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.record import KEPT, Recorder


class Died(BaseException):
    """As a kill: nothing of ours catches it."""


class Maps:
    """ConfigMaps of one namespace. `dies_after`: so many deletions more, then the run is killed."""

    def __init__(self):
        self.stored, self.dies_after = {}, -1

    def resource(self, *__):
        return "configmaps"

    def list(self, __, ___, labels):
        key, value = labels.split("=")
        return [one for one in self.stored.values() if one["metadata"]["labels"].get(key) == value]

    def get(self, __, name, ___):
        return self.stored.get(name)

    def apply(self, __, document, **___):
        self.stored[document["metadata"]["name"]] = document

    def delete(self, __, name, *___, **____):
        if self.dies_after == 0:
            raise Died
        self.dies_after -= 1
        return self.stored.pop(name, None) is not None


def commit(recorder, parts):
    """A revision with so many parts: random data cannot be compressed."""
    data = {"x": os.urandom(16 + 500_000 * parts).hex()}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big", "namespace": "a"}, "data": data}
    recorder.commit("demo", {identity(document): document}, seconds=1, versions={})


@pytest.fixture
def maps():
    return Maps()


@pytest.mark.parametrize("deletions", range(4))
def test_a_record_is_forgotten_whole_although_the_run_before_died_at_it(maps, deletions):
    commit(Recorder(maps), 3)
    assert len(maps.stored) > 3
    maps.dies_after = deletions
    with pytest.raises(Died):
        Recorder(maps).forget("demo")
    maps.dies_after = -1
    Recorder(maps).forget("demo")
    assert maps.stored == {}


def test_the_oldest_revision_goes_whole_although_the_run_before_died_at_it(maps):
    commit(Recorder(maps), 2)
    for __ in range(KEPT - 1):
        commit(Recorder(maps), 0)
    maps.dies_after = 1
    with pytest.raises(Died):
        commit(Recorder(maps), 0)
    maps.dies_after = -1
    commit(Recorder(maps), 0)
    assert [name for name in maps.stored if name.startswith("record-demo-1.") or name == "record-demo-1"] == []
