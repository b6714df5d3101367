# SPDX-License-Identifier: Apache-2.0
"""Fields that exclude each other: which old form must go, and whose it becomes before our apply."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.choices import (
    choices_to_make,
    chosen,
    deferred,
    held_for,
)


def pod(container=None, **spec):
    whole = {"containers": [{"name": "c", "image": "x", **(container or {})}], **spec}
    return {"metadata": {"name": "p"}, "spec": whole}


REFERENCE = {"fieldRef": {"fieldPath": "metadata.name"}}
FORMS = {
    "probe": (pod({"livenessProbe": {"tcpSocket": {"port": 1}}}), pod({"livenessProbe": {"httpGet": {"port": 1}}})),
    "volume": (
        pod(volumes=[{"name": "d", "configMap": {"name": "x"}}]),
        pod(volumes=[{"name": "d", "emptyDir": {}}]),
    ),
    "reference": (
        pod({"env": [{"name": "A", "valueFrom": REFERENCE}]}),
        pod({"env": [{"name": "A", "value": "1"}]}),
    ),
    "strategy": (
        {"metadata": {}, "spec": {"strategy": {"type": "Recreate"}}},
        {"metadata": {}, "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}},
    ),
}


@pytest.mark.parametrize("what", FORMS)
def test_the_new_form_takes_the_place_of_the_old_one(what):
    described, live = FORMS[what]
    choices = choices_to_make(described, live)
    assert len(choices) == 1
    assert chosen(live, choices)["spec"] == described["spec"]
    assert chosen(deferred(described, choices), choices)["spec"] == described["spec"]


@pytest.mark.parametrize("what", FORMS)
def test_the_same_form_is_no_choice(what):
    for document in FORMS[what]:
        assert choices_to_make(document, document) == []


def test_what_is_described_in_no_form_stays_as_it_is():
    live = FORMS["reference"][1]
    assert choices_to_make(pod({"env": [{"name": "A"}]}), live) == []
    assert choices_to_make(pod(), live) == []


def test_the_old_form_becomes_ours_alone():
    described, live = FORMS["strategy"]
    theirs = {"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}, "f:paused": {}}}
    entries = [{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": theirs}]
    made = held_for(entries, "apps/v1", choices_to_make(described, live))
    assert made[0]["fieldsV1"] == {"f:spec": {"f:strategy": {}, "f:paused": {}}}
    assert made[1]["manager"] == "llm.on_eks"
    assert made[1]["fieldsV1"] == {"f:spec": {"f:strategy": {"f:rollingUpdate": {}}}}


def test_a_form_that_we_own_is_left_to_our_apply():
    described, live = FORMS["volume"]
    fields = {"f:spec": {"f:volumes": {'k:{"name":"d"}': {"f:emptyDir": {}}}}}
    live["metadata"]["managedFields"] = [{"manager": "llm.on_eks", "operation": "Apply", "fieldsV1": fields}]
    assert choices_to_make(described, live) == []
