# SPDX-License-Identifier: Apache-2.0
"""What is kept outside of this code stays valid: plan files, and the records in clusters. Both were written by an earlier version."""

import json
from pathlib import Path

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Resource
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.record import Recorder
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine, run_plan

WRITTEN = Path(__file__).parent / "living"


def described():
    return json.loads((WRITTEN / "descriptors.json").read_text())


class Records:
    """ConfigMaps in memory: what the recorder asks of an API server."""

    def __init__(self, documents):
        self.documents = documents
        self.written = []

    def resource(self, api_version, kind):
        return Resource("v1", "ConfigMap", "configmaps", True, frozenset())

    def list(self, resource, namespace, *, labels):
        key, __, value = labels.partition("=")
        return [one for one in self.documents.values() if one["metadata"]["labels"].get(key) == value]

    def get(self, resource, name, namespace):
        return self.documents.get(name)

    def apply(self, resource, document, *, force):
        self.written.append(document["metadata"]["name"])


def planned():
    return engine.converge(engine.Request(descriptors=described(), check=True))


def test_a_plan_file_of_an_earlier_version_is_still_the_same_plan():
    earlier = run_plan.read(WRITTEN / "plan.json")
    assert earlier.allows(run_plan.plan_of(planned()))


def test_a_plan_of_something_new_holds_only_for_what_it_described():
    """What is created has no fields to compare: the descriptor says what it will be."""
    now = run_plan.plan_of(planned())
    assert now.allows(run_plan.plan_of(planned()))
    other = described()
    for document in other[0]["manifests"]:
        document.setdefault("metadata", {}).setdefault("annotations", {})["said"] = "otherwise"
    later = run_plan.plan_of(engine.converge(engine.Request(descriptors=other, check=True)))
    assert [action.subject for action in later.actions] == [action.subject for action in now.actions]
    assert not now.allows(later)
    assert f"{other[0]['name']} is described differently" in now.difference(later)
    again = run_plan.parse(run_plan.text(now), "the plan")
    assert again.allows(now)


def test_a_record_of_an_earlier_version_is_read_and_needs_no_new_revision():
    records = Records(json.loads((WRITTEN / "records.json").read_text()))
    run = planned()
    recorder = Recorder(records, run.masker)
    assert recorder.components() == ["reader", "things"]
    for name in run.components:
        wanted = run.context.desired.of(name)
        assert recorder.known(name) == set(wanted)
        recorder.intend(name, wanted)
        assert recorder.commit(name, wanted, seconds=2.5, versions={}) is None
        assert len(recorder.documents(name, 1)) == len(wanted)
    assert records.written == []
