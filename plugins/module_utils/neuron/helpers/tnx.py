# SPDX-License-Identifier: Apache-2.0
"""transformers-neuronx: all graphs on the CPU by cpu_compile(), then save()."""

from __future__ import annotations

# It runs in a pod, not as a module.
# pylint: disable=ansible-bad-function
import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("transformers-neuronx", "neuronx-cc", "torch-neuronx", "libneuronxla", "torch", "transformers")
CLASSES = {
    "bloom": ("bloom", "BloomForSampling"),
    "gpt2": ("gpt2", "GPT2ForSampling"),
    "llama": ("llama", "LlamaForSampling"),
    "mistral": ("mistral", "MistralForSampling"),
    "mixtral": ("mixtral", "MixtralForSampling"),
    "opt": ("opt", "OPTForSampling"),
}
AMP = {"bf16": "bf16", "fp16": "f16", "fp32": "f32"}


def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    # Its graphs have the interpreter's path in them (transformers-neuronx #91).
    return {**found, "python": ".".join(platform.python_version_tuple()[:2]), "prefix": sys.prefix}


def compile_model(spec: dict[str, Any]) -> None:
    if spec["model_type"] not in CLASSES:
        raise SystemExit(f"unsupported architecture: transformers-neuronx has no {spec['model_type']}")
    module, name = CLASSES[spec["model_type"]]
    more: dict[str, Any] = {}
    if spec["neuron_config"] or spec["quantization"]:
        config = importlib.import_module("transformers_neuronx.config")
        quant = {"quant": config.QuantizationConfig(quant_dtype="s8", dequant_dtype=AMP[spec["dtype"]])}
        more["neuron_config"] = config.NeuronConfig(**spec["neuron_config"], **(quant if spec["quantization"] else {}))
    if spec["buckets"]:
        more["context_length_estimate"] = spec["buckets"]
    model = getattr(importlib.import_module(f"transformers_neuronx.{module}.model"), name).from_pretrained(
        spec["model_path"],
        batch_size=spec["batch_size"],
        tp_degree=spec["tp_degree"],
        amp=AMP[spec["dtype"]],
        n_positions=spec["n_positions"],
        **more,
    )
    model.cpu_compile()
    model.save(spec["out"])


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        compile_model(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
        print(json.dumps({"compiled": True}))
