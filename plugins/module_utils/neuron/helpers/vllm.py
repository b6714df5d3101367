# SPDX-License-Identifier: Apache-2.0
"""vLLM's Neuron plugin for Inferentia2 and Trainium1: it compiles when the engine starts, so this wants a device."""

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
    "vllm",
    "vllm-neuron",
    "neuronx-distributed-inference",
    "neuronx-cc",
    "torch-neuronx",
    "libneuronxla",
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
    os.environ["NEURON_COMPILED_ARTIFACTS"] = spec["out"]
    from vllm import LLM

    more = {"additional_config": {"override-neuron-config": spec["neuron_config"]}} if spec["neuron_config"] else {}
    LLM(
        model=spec["model_path"],
        tensor_parallel_size=spec["tp_degree"],
        max_num_seqs=spec["batch_size"],
        max_model_len=spec["n_positions"],
        block_size=32,
        num_gpu_blocks_override=spec["batch_size"],
        enable_prefix_caching=False,
        **more,
    )


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        compile_model(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
        print(json.dumps({"compiled": True}))
