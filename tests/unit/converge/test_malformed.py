# SPDX-License-Identifier: Apache-2.0
"""Whatever a descriptor holds, a user reads a sentence: never a traceback, never an accepted nonsense."""

import copy
import json
import random
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError, parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.well_formed import fault
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine

DESCRIBED = json.loads((Path(__file__).parent / "living" / "descriptors.json").read_text())
NONSENSE = (None, "", "x", 0, 7, -1.5, True, False, [], {}, ["a"], {"a": 1}, [None], {"": None}, "a=b", "ä" * 300)


def object_(kind="ConfigMap", api="v1", meta=None, **more):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "a", **(meta or {})}, **more}


def deployment(**pod):
    spec = {"containers": [{"name": "c", "image": "x"}], **pod}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    return object_("Deployment", "apps/v1", spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})


def crd(**spec):
    whole = {"group": "y.z", "names": {"kind": "X", "plural": "x"}, "versions": [{"name": "v1"}], **spec}
    return object_("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec=whole)


FAULTS = {
    "name is a number": (object_(meta={"name": 5}), "metadata.name is a number (5)"),
    "no name": (object_(meta={"name": ""}), "metadata.name is an empty string"),
    "name too long": (object_(meta={"name": "a" * 254}), "metadata.name has 254 characters; 253 at most"),
    "name with a slash": (object_(meta={"name": "a/status"}), "must not contain / or %"),
    "namespace too long": (object_(meta={"namespace": "n" * 64}), "metadata.namespace has 64 characters"),
    "generateName": (object_(meta={"name": None, "generateName": "a-"}), "generateName"),
    "namespace is a number": (object_(meta={"namespace": 44}), "metadata.namespace is a number (44)"),
    "labels is a list": (object_(meta={"labels": ["a"]}), "metadata.labels is a list"),
    "labels is a text": (object_(meta={"labels": "a=b"}), "metadata.labels is a string"),
    "a label is a number": (object_(meta={"labels": {"v": 1}}), "metadata.labels.v is a number"),
    "an annotation is a switch": (
        object_(meta={"annotations": {"x": True}}),
        "metadata.annotations.x is a boolean",
    ),
    "data is a string": (object_(data="x"), "data is a string"),
    "a value is a number": (object_(data={"a": 1}), "data.a is a number; it must be a string (put it in quotes)"),
    "metadata is a list": ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": []}, "metadata is an empty list"),
    "a text": ("kind: ConfigMap", "an object is a string"),
    "a List": (object_("List", items=[]), "write its items one by one"),
    "CRD without versions": (crd(versions=None), "spec.versions is empty"),
    "CRD without names": (crd(names={}), "spec.names must have kind and plural"),
    "CRD without spec": (object_("CustomResourceDefinition", "apiextensions.k8s.io/v1"), "spec is missing"),
    "Deployment without spec": (object_("Deployment", "apps/v1"), "spec is missing"),
    "Job without spec": (object_("Job", "batch/v1", spec=None), "spec is missing"),
    "no containers": (deployment(containers=None), "containers is missing"),
    "containers a map": (deployment(containers={"name": "c"}), "containers is a map"),
    "env a number": (deployment(containers=[{"name": "c", "env": [{"name": "A", "value": 1}]}]), "env[A] is a number"),
    "env twice": (deployment(containers=[{"name": "c", "env": [{"name": "A"}, {"name": "A"}]}]), "name A twice"),
    "no base64": (object_("Secret", data={"k": "not base64!"}), "data.k is not base64"),
    "stringData a number": (object_("Secret", stringData={"k": 5}), "stringData.k is a number"),
    "Secret data a text": (object_("Secret", data="x"), "data is a string"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_no_object_can_be_is_named(what):
    document, words = FAULTS[what]
    assert words in fault(document)


@pytest.mark.parametrize(
    "document",
    [
        object_(),
        object_(data={"a": ""}),
        object_(meta={"labels": None, "annotations": None, "namespace": None}),
        object_("Secret", data={"k": "c2VzYW1l"}, stringData=None),
        object_("Secret", data={"k": None}),
        deployment(volumes=[{"name": "a"}, {"name": "b"}]),
        deployment(
            containers=[{"name": "c", "ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]}]
        ),
        object_("Whatever", "example.com/v1"),
    ],
)
def test_a_sound_object_is_left_alone(document):
    assert fault(document) == ""


def test_a_fault_says_no_value_of_a_secret():
    assert "swordfish" not in fault(object_("Secret", data={"k": "swordfish!"}))
    assert "swordfish" not in fault(object_("Secret", stringData="swordfish"))


def test_a_sentence_names_component_kind_namespace_and_name():
    described = {"name": "c", "namespace": {"name": "n"}, "manifests": [object_(data={"a": 1})]}
    with pytest.raises(DescriptorError, match=r"component c: ConfigMap n/a: data\.a is a number"):
        parse([described])


def mutated(rng):
    """The descriptors with one to three places replaced, taken out or doubled."""
    made = copy.deepcopy(DESCRIBED)
    for __ in range(rng.randint(1, 3)):
        node, path = made, []
        while isinstance(node, dict | list) and node and (not path or rng.random() < 0.85):
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            path.append((node, key))
            node = node[key]
        if not path:
            continue
        holder, key = path[-1]
        how = rng.random()
        if how < 0.7:
            holder[key] = copy.deepcopy(rng.choice(NONSENSE))
        elif how < 0.85:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
    return made


def hold_to_sentences(seed):
    rng = random.Random(seed)
    described = mutated(rng)
    try:
        run = engine.converge(engine.Request(descriptors=described, check=True))
    except LlmOnEksError as error:
        said = [str(error)]
    else:
        said = run.errors
        for component in described:
            for document in component.get("manifests") or []:
                assert fault(document) == "" or component.get("state") != "present", (seed, document)
    for text in said:
        assert text.strip() and "Traceback" not in text and len(text) < 900, (seed, text)


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_mutated_descriptors_end_in_sentences(start):
    for seed in range(start, start + 100):
        hold_to_sentences(seed)


@pytest.mark.full
def test_ten_thousand_mutated_descriptors_end_in_sentences():
    for seed in range(10_000):
        hold_to_sentences(seed)
