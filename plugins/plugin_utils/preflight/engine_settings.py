# SPDX-License-Identifier: Apache-2.0
"""Flags, shapes and images that contradict the entry they belong to: the engine would end at its start, or serve wrongly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..engines.accelerator import Accelerator, AcceleratorError, accelerator_of
from .findings import Finding, place_of

Entry = Mapping[str, Any]

_DEFAULT_CONTEXT = 4096
_LENGTHS = ("--max-model-len", "--max_model_len")
_INPUTS = ("--max-input-tokens", "--max-input-length")
_TOTALS = ("--max-total-tokens",)
# vLLM's plugins for Neuron from this version on know Trainium2 and 3 alone: https://github.com/vllm-project/vllm-neuron
_WITHOUT_INFERENTIA = (0, 21)
_VLLM_IMAGE = re.compile(r"vllm[\w-]*:v?(\d+)\.(\d+)")
_OLD_FAMILIES = ("inf2", "trn1", "trn1n")


def check_engine_settings(catalog: Sequence[Entry], values: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings for entries that are to be served. `values`: the inventory's variables."""
    for entry in catalog:
        if entry.get("state", "present") != "present" or not entry.get("name"):
            continue
        try:
            accelerator = accelerator_of(entry)
        except AcceleratorError:
            continue
        if accelerator.kind == "neuron":
            yield from _check_compiled(entry)
            yield from _check_image(entry, accelerator, values)
        if entry.get("engine") == "tgi":
            yield from _check_lengths(entry)
        if entry.get("engine") == "tgw":
            yield from _check_page(entry, values)


def _check_compiled(entry: Entry) -> Iterator[Finding]:
    """Graphs are compiled for `context` positions, and no request can be longer."""
    context = _context(entry)
    settings = entry.get("neuron")
    buckets = settings.get("buckets") if isinstance(settings, Mapping) else None
    longer = [size for size in buckets or () if _is_number(size) and int(size) > context]
    if longer:
        said = f"has {longer[0]}, and the graphs are compiled for a context of {context}"
        yield _finding(entry, "neuron.buckets", said, "raise context, or leave out what is longer")
    length = _flag(entry, _LENGTHS)
    if length and length > context:
        said = f"asks for {length} tokens, and the graphs are compiled for a context of {context}"
        yield _finding(entry, "engine_args", said, f"set context to {length}, and leave the flag out")


def _check_image(entry: Entry, accelerator: Accelerator, values: Mapping[str, Any]) -> Iterator[Finding]:
    image = str(values.get("engine_vllm_neuron_image") or "")
    found = _VLLM_IMAGE.search(image)
    if entry.get("engine") != "vllm" or accelerator.family not in _OLD_FAMILIES or not found:
        return
    version = (int(found[1]), int(found[2]))
    if version >= _WITHOUT_INFERENTIA:
        said = (
            f"is {image!r}, whose vLLM {found[1]}.{found[2]} has no {accelerator.family}, which {entry['name']} wants"
        )
        mend = "take an image with 0.13 or 0.16 (the default is one), or trn2"
        yield Finding("engine_vllm_neuron_image", said, mend, place_of(image) or place_of(entry))


def _check_lengths(entry: Entry) -> Iterator[Finding]:
    """TGI ends at its start where a prompt may be as long as prompt and answer together."""
    asked, total = _flag(entry, _INPUTS), _flag(entry, _TOTALS) or _context(entry)
    if asked and asked >= total:
        said = f"allows prompts of {asked} tokens, and prompt and answer together have {total}"
        yield _finding(entry, "engine_args", said, "raise context, or allow shorter prompts")


def _check_page(entry: Entry, values: Mapping[str, Any]) -> Iterator[Finding]:
    replicas = entry.get("replicas")
    most = replicas.get("max", replicas.get("min", 1)) if isinstance(replicas, Mapping) else 1
    if str(values.get("engine_tgw_web_page", False)).lower() in ("true", "yes") and _is_number(most) and int(most) > 1:
        said = f"has up to {most} pods, and engine_tgw_web_page keeps each visitor's chats in one of them"
        yield _finding(entry, "replicas", said, "set max to 1, or engine_tgw_web_page to false", "warning")


def _context(entry: Entry) -> int:
    found = entry.get("context")
    return int(found) if _is_number(found) and found else _DEFAULT_CONTEXT


def _flag(entry: Entry, names: Sequence[str]) -> int | None:
    """The number that a flag has in `engine_args`, the last one: as --flag=1, or in the argument after it."""
    arguments = [str(one) for one in entry.get("engine_args") or ()]
    found = None
    for argument, following in pairwise([*arguments, ""]):
        name, given, value = argument.partition("=")
        text = value if given else following
        if name in names and text.isdigit():
            found = int(text)
    return found


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or str(value).isdigit())


def _finding(entry: Entry, key: str, said: str, mend: str, severity: Any = "error") -> Finding:
    return Finding(f"model_catalog[{entry['name']}].{key}", said, mend, place_of(entry), severity)
