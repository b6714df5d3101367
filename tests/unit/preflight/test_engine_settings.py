# SPDX-License-Identifier: Apache-2.0
"""What contradicts an entry is found before its engine ends at its start."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engine_settings import check_engine_settings

NEURON = {"engine": "vllm", "accelerators": ["inf2.8xlarge"], "context": 4096}
TGI = {"engine": "tgi", "accelerators": ["g6.xlarge"], "context": 4096}
TGW = {"engine": "tgw", "accelerators": ["g6.xlarge"], "replicas": {"min": 1, "max": 2}}
NEWEST = {"engine_vllm_neuron_image": "registry.example.com/pytorch-inference-vllm-neuronx:0.24.0-sdk2.32.0"}


def findings(entry, **values):
    return [
        f"{one.variable} {one.problem}; {one.mend}" for one in check_engine_settings([{"name": "m", **entry}], values)
    ]


@pytest.mark.parametrize(
    ("entry", "values", "sentence"),
    [
        (
            {**NEURON, "neuron": {"buckets": [128, 8192]}},
            {},
            "model_catalog[m].neuron.buckets has 8192, and the graphs are compiled for a context of 4096; "
            "raise context, or leave out what is longer",
        ),
        (
            {**NEURON, "engine_args": ["--max-model-len=16384"]},
            {},
            "model_catalog[m].engine_args asks for 16384 tokens, and the graphs are compiled for a context of 4096; "
            "set context to 16384, and leave the flag out",
        ),
        (
            {**NEURON, "engine_args": ["--max-model-len", "5000"], "context": None},
            {},
            "model_catalog[m].engine_args asks for 5000 tokens, and the graphs are compiled for a context of 4096; "
            "set context to 5000, and leave the flag out",
        ),
        (
            NEURON,
            NEWEST,
            "engine_vllm_neuron_image is 'registry.example.com/pytorch-inference-vllm-neuronx:0.24.0-sdk2.32.0', whose "
            "vLLM 0.24 has no inf2, which m wants; take an image with 0.13 or 0.16 (the default is one), or trn2",
        ),
        (
            {**TGI, "engine_args": ["--max-input-tokens=4096"]},
            {},
            "model_catalog[m].engine_args allows prompts of 4096 tokens, and prompt and answer together have 4096; "
            "raise context, or allow shorter prompts",
        ),
        (
            TGW,
            {"engine_tgw_web_page": True},
            "model_catalog[m].replicas has up to 2 pods, and engine_tgw_web_page keeps each visitor's chats in one of them; "
            "set max to 1, or engine_tgw_web_page to false",
        ),
    ],
    ids=["bucket", "flag", "default context", "image", "tgi", "page"],
)
def test_what_contradicts_the_entry_is_refused_with_its_mend(entry, values, sentence):
    assert findings(entry, **values) == [sentence]


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({**NEURON, "neuron": {"buckets": [128, 4096]}, "engine_args": ["--max-model-len=2048"]}, {}),
        ({**NEURON, "accelerators": ["trn2.48xlarge"]}, NEWEST),
        ({**NEURON, "state": "absent"}, NEWEST),
        (NEURON, {"engine_vllm_neuron_image": "registry.example.com/vllm-neuronx:0.13.0-sdk2.28.0"}),
        ({**NEURON, "accelerators": ["g6.xlarge"], "engine_args": ["--max-model-len=16384"]}, NEWEST),
        ({**TGI, "engine_args": ["--max-input-tokens=4096", "--max-total-tokens=8192"]}, {}),
        (TGW, {}),
        ({**TGW, "replicas": {"min": 1}}, {"engine_tgw_web_page": True}),
    ],
    ids=str,
)
def test_what_fits_is_let_alone(entry, values):
    assert findings(entry, **values) == []
