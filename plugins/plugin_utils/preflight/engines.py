# SPDX-License-Identifier: Apache-2.0
"""What an engine cannot serve on the requested hardware: found before anything is scheduled, with what to change.

The rules: docs/engines.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...module_utils.aws.reference.accelerators import Facts, facts_of
from ..engines.accelerator import Accelerator, AcceleratorError, accelerator_of, parallel_of
from ..engines.size import need_of
from ..models.pins import unpinned, with_adapters
from .findings import Finding, place_of

# Engines that run on Neuron devices at all.
_ON_NEURON = ("vllm", "tgw")
_PACKED = ("awq", "gptq")
_WITH_TOOL_PARSERS = ("vllm", "sglang")
# Quantisations that no engine supports on Neuron. TGI and vLLM differ in what else they support there.
_GIB = 1024
# Graphs, scratch and the runtime on one NeuronCore.
_CORE_OVERHEAD_MIB = 1536
# Each LoRA adapter of rank 16 adds this to its model.
_ADAPTER_MIB = 256
_USUAL_RANK = 16


def check_engines(catalog: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """Findings for catalogue entries that are to be served."""
    for entry in catalog:
        if isinstance(entry, Mapping) and entry.get("state", "present") == "present" and entry.get("name"):
            yield from _check(entry)


def check_pins(catalog: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the cluster downloads must be pinned: its revision can never mean another content."""
    for entry in with_adapters(catalog):
        if isinstance(entry, Mapping) and unpinned(entry):
            mend = (
                "run playbooks/lock.yml, which looks up what it stands for now, or give the commit of a Hub repository, "
                "and sha256:DIGEST for others"
            )
            said = (
                f"is {entry.get('revision')!r}, which may be another content tomorrow, and it is not in the lock file"
            )
            yield _finding(entry, "revision", said, mend)


def _check(entry: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        accelerator = accelerator_of(entry)
    except AcceleratorError as problem:
        yield _finding(entry, "accelerators", f"is not a list of types: {problem}", "list instance types, or write cpu")
        return
    yield from _check_mixture(entry, accelerator)
    yield from _check_task(entry)
    kind = accelerator.kind
    yield from _check_kind(entry, kind, accelerator.family)
    if kind != "cpu":
        for name in accelerator.types:
            device = facts_of(name)
            if device.count:
                yield from _check_fit(entry, kind, name, device)


def _check_mixture(entry: Mapping[str, Any], accelerator: Accelerator) -> Iterator[Finding]:
    """A pod has one image and asks for one kind of device."""
    given = entry.get("accelerators") or "cpu"
    others = [] if isinstance(given, str) else [name for name in given if name not in accelerator.types]
    if others:
        said = f"mixes kinds: {', '.join(accelerator.types)} and {', '.join(map(str, others))} need different images and devices"
        mend = f"give {', '.join(map(str, others))} an entry of its own, and name that in this one's fallbacks"
        yield _finding(entry, "accelerators", said, mend)


def _check_task(entry: Mapping[str, Any]) -> Iterator[Finding]:
    engine, task = entry.get("engine"), entry.get("task") or "generate"
    if task != "generate" and engine != "vllm":
        yield _finding(entry, "task", f"is {task!r}, which {engine} does not do", "set engine to vllm")
    if entry.get("lora") and engine != "vllm":
        yield _finding(entry, "lora", f"is for vllm, and the engine is {engine}", "set engine to vllm, or leave it out")
    if entry.get("tool_parser") and engine not in _WITH_TOOL_PARSERS:
        said = (
            f"is for {' and '.join(_WITH_TOOL_PARSERS)}, and {engine} reads calls of tools by the model's own template"
        )
        yield _finding(entry, "tool_parser", said, "leave it out")


def _check_kind(entry: Mapping[str, Any], kind: str, family: str) -> Iterator[Finding]:
    engine = entry.get("engine")
    quantization = str(entry.get("quantization") or entry.get("source") or "").lower()
    packed = next((one for one in _PACKED if one in quantization), "")
    if kind == "neuron" and engine not in _ON_NEURON:
        yield _finding(
            entry,
            "accelerators",
            f"are Neuron devices, and {engine} has no backend for them",
            "set engine to vllm or tgw",
        )
    if kind == "neuron" and packed:
        yield _finding(entry, "quantization", f"is {packed}, which no Neuron backend reads", "take the 16-bit weights")
    elif packed and engine == "tgw":
        mend = "take the 16-bit weights, or set engine to vllm"
        yield _finding(
            entry, "quantization", f"is {packed}, and Text Generation WebUI has no loader for it any more", mend
        )
    if family in ("trn2", "trn2u", "trn3") and engine == "tgw":
        mend = "take inf2 or trn1, or set engine to vllm"
        yield _finding(entry, "accelerators", f"are {family}, for which tgw's backends cannot compile", mend)
    if kind == "cpu" and engine in ("tgi", "sglang"):
        yield _finding(
            entry, "accelerators", f"is cpu, and {engine} runs on GPUs", "name a GPU type, or set engine to llamacpp"
        )


def _check_fit(entry: Mapping[str, Any], kind: str, name: str, device: Facts) -> Iterator[Finding]:
    """Weights and KV cache fit into the devices' memory, with the engine's own overhead on each."""
    parallel = parallel_of(entry)
    noun = "NeuronCores" if kind == "neuron" else "GPUs"
    if device.parallel and parallel <= device.count and parallel not in device.parallel:
        ways = ", ".join(map(str, device.parallel))
        yield _finding(entry, "tensor_parallel", f"is {parallel}, which {name} cannot connect", f"take one of {ways}")
        return
    if parallel > device.count:
        mend = f"take {device.count} or less, or a larger type"
        yield _finding(entry, "tensor_parallel", f"is {parallel}, and {name} has {device.count} {noun}", mend)
        return
    if kind == "gpu" and parallel & (parallel - 1):
        # https://github.com/vllm-project/vllm/issues/4232
        said = (
            f"is {parallel}, by which the attention heads of few models can be divided: engines then end at their start"
        )
        mend = "take a power of two, unless the heads and KV heads in the model's config.json are multiples of it"
        yield Finding(f"model_catalog[{entry['name']}].tensor_parallel", said, mend, place_of(entry), "warning")
    needed = per_device_mib(entry, kind, parallel)
    if needed is not None and needed > device.memory_mib:
        said = (
            f"needs {needed / _GIB:.1f} GiB on each of {parallel} {noun}, and {name} has {device.memory_mib / _GIB:.0f}"
        )
        mend = "raise tensor_parallel, shorten context, take a smaller quantization, or a larger type"
        yield _finding(entry, "accelerators", said, mend)


def per_device_mib(entry: Mapping[str, Any], kind: str, parallel: int) -> int | None:
    """MiB on each device; None where the model's size is not known.

    A KV head cannot be split: with more devices than heads, each device holds a copy. Where the number of heads is not
    known, nothing is added for that.
    """
    found = need_of(entry)
    if found is None:
        return None
    overhead = _CORE_OVERHEAD_MIB if kind == "neuron" else found.overhead_mib
    adapters = sum(_ADAPTER_MIB * _rank(one) // _USUAL_RANK for one in entry.get("lora") or ())
    return (found.weights_mib + found.kv_cache_mib + adapters) // parallel + overhead


def _rank(adapter: Any) -> int:
    """What is no number is the argument spec's business."""
    given = str(adapter.get("rank") or "") if isinstance(adapter, Mapping) else ""
    return int(given) if given.isdigit() else _USUAL_RANK


def _finding(entry: Mapping[str, Any], key: str, said: str, mend: str) -> Finding:
    return Finding(f"model_catalog[{entry['name']}].{key}", said, mend, place_of(entry))
