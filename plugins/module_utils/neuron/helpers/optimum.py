# SPDX-License-Identifier: Apache-2.0
"""optimum-neuron: an export from a local folder, on the CPU. From the Hub's name the weights would be fetched at every start."""

from __future__ import annotations

# It runs in a pod, not as a module.
# pylint: disable=ansible-bad-function
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "optimum-neuron",
    "neuronx-cc",
    "torch-neuronx",
    "libneuronxla",
    "neuronx-distributed",
    "torch",
    "transformers",
)


def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "python": ".".join(platform.python_version_tuple()[:2])}


def compile_model(spec: dict[str, Any]) -> None:
    os.environ["NEURON_PLATFORM_TARGET_OVERRIDE"] = spec["target"]
    import torch
    from optimum.neuron import NeuronModelForCausalLM
    from transformers import AutoTokenizer

    config = NeuronModelForCausalLM.get_neuron_config(
        spec["model_path"],
        instance_type=spec["target"],
        batch_size=spec["batch_size"],
        sequence_length=spec["n_positions"],
        tensor_parallel_size=spec["tp_degree"],
    )
    for name, value in spec["neuron_config"].items():
        setattr(config, name, value)
    config.torch_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[spec["dtype"]]
    NeuronModelForCausalLM.export(spec["model_path"], config, load_weights=False).save_pretrained(spec["out"])
    AutoTokenizer.from_pretrained(spec["model_path"]).save_pretrained(spec["out"])


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        compile_model(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
        print(json.dumps({"compiled": True}))
