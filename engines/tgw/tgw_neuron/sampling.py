# SPDX-License-Identifier: Apache-2.0
"""What upstream asks of a Transformers model, as what a Neuron backend can do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import PromptTooLongError

# Samplers that no backend has, with the values that mean "not asked for".
# Names are those of upstream's request fields and of its generation parameters.
SAMPLERS: Mapping[str, tuple[Any, ...]] = {
    "dry_multiplier": (0,),
    "dynamic_temperature": (False,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "frequency_penalty": (0,),
    "guidance_scale": (1,),
    "min_p": (0,),
    "mirostat_mode": (0,),
    "penalty_alpha": (0,),
    "presence_penalty": (0,),
    "prompt_lookup_num_tokens": (0,),
    "repetition_penalty": (1,),
    "smoothing_factor": (0,),
    "tfs": (1,),
    "top_a": (0,),
    "top_n_sigma": (0,),
    "typical_p": (1,),
    "xtc_probability": (0,),
}
# What needs the scores of every token, or a second run of the model: an answer without it would be another answer.
NEEDS_SCORES: Mapping[str, tuple[Any, ...]] = {
    "custom_token_bans": ("",),
    "echo": (False,),
    "grammar_string": ("",),
    "logit_bias": ({},),
    "logprobs": (0, False),
    "negative_prompt": ("",),
    "top_logprobs": (0,),
}


@dataclass(frozen=True)
class Sampling:
    """One generation. `top_k` 0: no limit; `max_new_tokens` 1 or more; `seed` is upstream's business (torch's, on the host)."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    no_repeat_ngram_size: int
    eos_token_ids: tuple[int, ...]

    @property
    def greedy(self) -> bool:
        return self.top_k == 1


def sampling_of(given: Mapping[str, Any], prompt_tokens: int, n_positions: int) -> Sampling:
    """Upstream's generation parameters, clamped to what fits. PromptTooLongError when nothing does."""
    room = n_positions - prompt_tokens
    if room < 1:
        raise PromptTooLongError(
            f"the prompt has {prompt_tokens} tokens and the model was compiled for {n_positions} positions: shorten it"
        )
    temperature = _number(given.get("temperature"), 1.0)
    greedy = not given.get("do_sample", True) or temperature <= 0
    top_p = _number(given.get("top_p"), 1.0)
    return Sampling(
        max_new_tokens=max(1, min(int(given.get("max_new_tokens") or room), room)),
        temperature=1.0 if greedy else temperature,
        top_k=1 if greedy else max(0, int(given.get("top_k") or 0)),
        # 0 is "off" in upstream's fields, and nothing at all in a backend's.
        top_p=1.0 if greedy or not 0 < top_p <= 1 else top_p,
        no_repeat_ngram_size=max(0, int(given.get("no_repeat_ngram_size") or 0)),
        eos_token_ids=() if given.get("suppress_tokens") else _ids(given.get("eos_token_id")),
    )


def not_supported(asked: Mapping[str, Any], *, host_scores: bool) -> Iterator[str]:
    """Names in a request that the backend cannot honour. `host_scores`: it samples on the host, with upstream's processors."""
    tables = (SAMPLERS,) if host_scores else (SAMPLERS, NEEDS_SCORES)
    for table in tables:
        for name, off in table.items():
            value = asked.get(name)
            if value is not None and value not in off:
                yield name


def needs_scores(names: list[str]) -> list[str]:
    """Those without which the answer would be another one, not only a differently sampled one."""
    return [name for name in names if name in NEEDS_SCORES]


def _number(value: Any, default: float) -> float:
    number = default if value is None else float(value)
    return number if math.isfinite(number) else default


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(one) for one in value) if isinstance(value, (list, tuple)) else (int(value),)
