# SPDX-License-Identifier: Apache-2.0
"""The size of a model from its catalogue entry, or from its name where the entry lacks it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .sizing import Architecture, Need, need

# Bits of a stored weight. GGUF kinds as measured on Llama 3.1 8B: https://github.com/ggml-org/llama.cpp (tools/quantize).
# AWQ and GPTQ keep embeddings at 16 bit: Llama 3.1 8B at 4 bit is 5.7 GB on disk, which is 5.7 bit.
BITS: dict[str, float] = {
    "fp32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "int8": 8,
    "q8_0": 8.5,
    "q6_k": 6.6,
    "q5_k_m": 5.7,
    "q4_k_m": 4.9,
    "q4_0": 4.7,
    "awq": 5.7,
    "gptq": 5.7,
    "int4": 5.7,
}
# Parameters in 10^9, layers, KV heads, head size of published models, by size; from the config.json of Qwen2.5-0.5B,
# Llama-3.2-1B and -3B, Llama-3.1-8B, Qwen2.5-14B and -32B, Llama-3.1-70B and -405B.
_PUBLISHED = (
    (0.5, 24, 2, 64),
    (1.24, 16, 8, 64),
    (3.2, 28, 8, 128),
    (8.03, 32, 8, 128),
    (14.8, 48, 8, 128),
    (32.8, 64, 8, 128),
    (70.6, 80, 8, 128),
    (406.0, 126, 8, 128),
)
# Published models whose names do not tell their size: https://huggingface.co/BAAI, /intfloat, /microsoft.
_NAMED = {
    "bge-m3": "568M",
    "bge-reranker-v2-m3": "568M",
    "bge-large": "335M",
    "bge-base": "109M",
    "bge-small": "33M",
    "multilingual-e5-large": "560M",
    "multilingual-e5-base": "278M",
    "multilingual-e5-small": "118M",
    "phi-3-mini": "3.82B",
    "phi-4-mini": "3.84B",
    "phi-4": "14.7B",
}
# 8b, 270m, 0.5B, 8x7b; not the 3B of A3B, which are the active ones.
_PARAMETERS = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"b": 1_000_000_000, "m": 1_000_000}


@dataclass(frozen=True)
class Given:
    """What is known of a model. Empty, 0 and None: not given. `file_size_bytes`: of its weights, where they are on this machine."""

    name: str
    source: str = ""
    context: int = 4096
    parameters: str = ""
    weights_gib: float | None = None
    quantization: str = ""
    file_size_bytes: int = 0


@dataclass(frozen=True)
class Estimate:
    """`need` None: it cannot be estimated. `assumed`: values that were assumed, each with its reason."""

    need: Need | None
    assumed: tuple[str, ...] = ()


def estimate(given: Given, *, sequences: int = 1, engine_mib: int | None = None) -> Estimate:
    """The memory that the model needs for this number of sequences with the whole context.

    `engine_mib`: the engine's own overhead, where it is not that on an accelerator. Raises ValueError on parameters
    that are no number.
    """
    assumed: list[str] = []
    parameters = parse_parameters(given.parameters) if given.parameters else 0
    if not parameters:
        parameters = parameters_in(given.name) or parameters_in(given.source)
        if parameters:
            assumed.append(f"{shown(parameters)} parameters (from its name)")
    bits, source_of_bits = _bits(given)
    weights_bytes = int(given.weights_gib * 2**30) if given.weights_gib else given.file_size_bytes
    if not parameters and weights_bytes:
        parameters = int(weights_bytes * 8 / bits)
        assumed.append(f"{shown(parameters)} parameters (from the size of the weights)")
    if not parameters:
        return Estimate(None)
    layers, kv_heads, head_dim = published_like(parameters)
    assumed.append(f"{layers} layers with {kv_heads} KV heads of {head_dim} (as published models of that size)")
    if not weights_bytes and source_of_bits:
        assumed.append(source_of_bits)
    found = need(Architecture(parameters, layers, kv_heads, head_dim, bits), context=given.context, sequences=sequences)
    if weights_bytes:
        found = replace(found, weights_mib=-(-weights_bytes // 2**20))
    if engine_mib is not None:
        found = replace(found, overhead_mib=engine_mib)
    return Estimate(found, tuple(assumed))


def parse_parameters(text: str) -> int:
    """`8B`, `270M`, `8.03e9`. Raises ValueError."""
    found = _PARAMETERS.fullmatch(text.strip())
    if found:
        return _count(found)
    number = float(text)
    if not 0 < number < 1e14:
        raise ValueError(f"{text} is not a number of parameters")
    return int(number)


def parameters_in(name: str) -> int:
    """The largest number of parameters in a name, or that of a published model of this name; 0 for none."""
    told = max((_count(found) for found in _PARAMETERS.finditer(name)), default=0)
    named = (size for model, size in _NAMED.items() if re.search(rf"(?<![a-z0-9]){model}(?![a-z0-9])", name.lower()))
    return told or next(map(parse_parameters, named), 0)


def published_like(parameters: int) -> tuple[int, int, int]:
    """(layers, KV heads, head size) of the smallest published model that is not much smaller."""
    wanted = parameters / 1e9 * 0.9
    return next((row[1:] for row in _PUBLISHED if row[0] >= wanted), _PUBLISHED[-1][1:])


def shown(parameters: int) -> str:
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"


def _bits(given: Given) -> tuple[float, str]:
    """Bits of a weight, and the words for an assumption; empty when the value was given."""
    if given.quantization:
        return _known(given.quantization, BITS) or 16, ""
    for text in (given.name, given.source):
        words = re.sub(r"[^a-z0-9]+", "_", text.lower())
        kind = next((kind for kind in BITS if re.search(rf"(?<![a-z0-9]){kind}(?![a-z0-9])", words)), "")
        if kind:
            return BITS[kind], f"{kind}, {BITS[kind]:g} bit a weight (from its name)"
    return 16, "16 bit a weight"


def _known(kind: str, table: Mapping[str, float]) -> float | None:
    return table.get(kind.lower().replace("-", "_"))


def _count(found: re.Match[str]) -> int:
    times, number, unit = found.groups()
    return int(int(times or 1) * float(number) * _UNITS[unit.lower()])
