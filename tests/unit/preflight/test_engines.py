# SPDX-License-Identifier: Apache-2.0
"""What an engine cannot serve is found before anything is scheduled."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.filter.catalog_routes import catalog_routes
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.accelerator import accelerator_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.contract import ContractError, components
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.catalog import check_catalog
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engines import check_engines, per_device_mib

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


def entry(**more):
    return {
        "name": "llama-3.1-8b",
        "source": "hf://meta-llama/Llama-3.1-8B-Instruct",
        "revision": COMMIT,
        "engine": "vllm",
        **more,
    }


def findings(**more):
    return [f"{one.variable}: {one.problem} | {one.mend}" for one in check_engines([entry(**more)])]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"engine": "llamacpp", "accelerators": ["inf2.xlarge"]}, "no backend for them | set engine to vllm or tgw"),
        (
            {"accelerators": ["inf2.8xlarge"], "quantization": "awq", "tensor_parallel": 2},
            "awq, which no Neuron backend reads",
        ),
        ({"engine": "tgw", "accelerators": ["g6.xlarge"], "quantization": "gptq"}, "no loader for it any more"),
        (
            {"engine": "tgw", "accelerators": ["inf2.24xlarge"], "tensor_parallel": 3},
            "cannot connect | take one of 1, 2, 4, 8, 12",
        ),
        ({"accelerators": ["g6.xlarge"], "tensor_parallel": 2}, "g6.xlarge has 1 GPUs | take 1 or less"),
        ({"engine": "tgw", "accelerators": ["trn2.48xlarge"]}, "tgw's backends cannot compile"),
        (
            {"engine": "tgi", "task": "embed", "accelerators": ["g6.xlarge"]},
            "which tgi does not do | set engine to vllm",
        ),
        ({"engine": "tgi"}, "runs on GPUs"),
        ({"accelerators": ["gpu"]}, "list instance types"),
        (
            {"accelerators": ["inf2.8xlarge", "g6.xlarge"], "tensor_parallel": 2},
            "g6.xlarge need different images and devices | give g6.xlarge an entry of its own, and name that in this one's fallbacks",
        ),
        ({"name": "llama-3.1-70b", "accelerators": ["g6.12xlarge"], "tensor_parallel": 4}, "on each of 4 GPUs"),
        ({"name": "llama-2-13b", "accelerators": ["inf2.xlarge"], "tensor_parallel": 1}, "on each of 1 NeuronCores"),
        (
            {"engine": "llamacpp", "tool_parser": "hermes"},
            "is for vllm and sglang, and llamacpp reads calls of tools by",
        ),
        (
            {"accelerators": ["g6.12xlarge"], "tensor_parallel": 3},
            "engines then end at their start | take a power of two",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_mend(given, sentence):
    assert sentence in "\n".join(findings(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"accelerators": ["g6.xlarge"], "context": 8192},
        {"accelerators": ["inf2.8xlarge"], "tensor_parallel": 2, "context": 4096},
        {
            "name": "llama-2-13b-neuron",
            "engine": "tgw",
            "accelerators": ["inf2.24xlarge"],
            "tensor_parallel": 12,
            "context": 2048,
        },
        {"name": "llama-3.1-70b", "accelerators": ["g6e.12xlarge"], "tensor_parallel": 4},
        {"name": "llama-3.1-70b", "accelerators": ["g6.12xlarge"], "tensor_parallel": 4, "quantization": "awq"},
        {"engine": "llamacpp"},
        {"accelerators": ["g6.12xlarge"], "tensor_parallel": 4, "tool_parser": "llama3_json"},
    ],
)
def test_what_can_work_is_let_alone(given):
    assert findings(**given) == []


def test_spreading_halves_what_is_spread_and_nothing_else():
    one, two = (per_device_mib(entry(), "gpu", parallel) for parallel in (1, 2))
    four = per_device_mib(entry(), "gpu", 4)
    assert one - two == pytest.approx(2 * (two - four), abs=4)


def test_an_adapter_of_a_high_rank_needs_more():
    plain, usual, high = (
        per_device_mib(entry(lora=lora), "gpu", 1)
        for lora in ([], [{"name": "a"}, {"name": "b", "rank": 16}], [{"name": "a", "rank": 64}])
    )
    assert (usual - plain, high - plain) == (2 * 256, 4 * 256)


def test_types_of_one_kind_take_each_others_place_the_first_rather_than_the_last():
    found = accelerator_of(entry(accelerators=["inf2.8xlarge", "g6.xlarge", "inf2.24xlarge"]))
    assert (found.kind, found.types, found.family) == ("neuron", ("inf2.8xlarge", "inf2.24xlarge"), "inf2")
    preferred = found.placement()["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [one["preference"]["matchExpressions"][0]["values"] for one in preferred] == [["inf2.8xlarge"]]
    assert found.resources(2)["limits"] == {"aws.amazon.com/neuroncore": "2"}


def test_a_role_that_gives_what_the_contract_does_not_take_is_told():
    with pytest.raises(ContractError, match=r"engine of model llama-3\.1-8b: .*argz"):
        components(entry(), {"name": "x", "image": "i", "argz": []}, {"revision": "r"})


def test_a_device_that_is_in_use_is_given_back_before_the_next_pod_wants_it():
    (made,) = components(entry(accelerators=["g6.xlarge"]), {"name": "vllm", "image": "i"}, {"revision": "r"})
    spec = made["manifests"][0]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert spec["template"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_further_names_and_fallbacks_lead_somewhere():
    catalog = [
        entry(alias=["gpt-4o", "other"], fallbacks=["other", "nobody", "llama-3.1-8b"]),
        entry(name="other", alias=["gpt-4o"]),
    ]
    assert [f"{one.variable} {one.problem}" for one in check_catalog(catalog)] == [
        "model_catalog[llama-3.1-8b].alias holds 'other', which is a model of the catalogue",
        "model_catalog[llama-3.1-8b].fallbacks holds 'nobody', which the catalogue does not serve",
        "model_catalog[llama-3.1-8b].fallbacks holds 'llama-3.1-8b', which is the model itself",
        "model_catalog[other].alias holds 'gpt-4o', which is an alias of llama-3.1-8b",
    ]
    good = [
        entry(alias=["gpt-4o"], fallbacks=["other"]),
        entry(name="other"),
        entry(name="gone", state="absent", alias=["x"]),
    ]
    assert list(check_catalog(good)) == []
    assert catalog_routes(good) == {"llama-3.1-8b": {"fallbacks": ["other"]}, "gpt-4o": {"alias": "llama-3.1-8b"}}


def test_a_model_that_goes_down_to_none_is_known_and_waited_for():
    """Else its first request would be refused, nothing counted, and KEDA would bring no pod."""
    queue = {"autoscaling": {"signal": "queue"}}
    catalog = [
        entry(name="none", replicas={"min": 0, "max": 2}, **queue),
        entry(name="one", replicas={"min": 1, "max": 2}, **queue),
        entry(name="off", replicas={"min": 0, "max": 1}),
    ]
    assert catalog_routes(catalog, 600) == {"none": {"hold_timeout": 600}}
    assert catalog_routes(catalog) == {"none": {}}
