# SPDX-License-Identifier: Apache-2.0
"""What engines say when a prompt and the wanted answer do not fit into a model's context, each in its own words.

vLLM, SGLang, TGI, llama.cpp and TensorRT-LLM all name the context's length and most the prompt's; agents need both to shorten a conversation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_N = r"(\d{1,9})"
_LIMITS = (
    rf"context (?:length|window|size)[^.\d]{{0,40}}{_N}",
    rf"available context size \({_N}",
    rf"must be <=? ?{_N}",
    rf"max_model_len[^\d]{{0,30}}{_N}",
    rf"max(?:imum)? (?:sequence|input|prompt) length[^\d]{{0,30}}{_N}",
    rf"{_N} ?\(?max",
)
_PROMPTS = (
    rf"{_N} (?:in the messages|in the prompt|from the input|input tokens|prompt tokens|`inputs` tokens|tokens in (?:your|the) (?:prompt|input))",
    rf"(?:request|prompt|input) \({_N} tokens",
    rf"(?:prompt|input|request) (?:contains|has|of|is|length)[^\d]{{0,20}}{_N}",
    rf"length of the prompt[^\d]{{0,20}}{_N}",
)
_TOTALS = (rf"requested (?:a total of )?(?:about )?{_N} tokens", rf"total (?:tokens )?of (?:at least )?{_N}")
_ABOUT = re.compile(
    r"context.{0,10}(?:length|window|size)|max_model_len|max_new_tokens|max(?:_completion)?_tokens.{0,40}too large"
    r"|prompt is too long|input.{0,30}too long|maximum (?:sequence|input|prompt) length",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Overflow:
    """Tokens. What an engine did not say is None."""

    limit: int | None
    prompt: int | None

    @property
    def room(self) -> int | None:
        """What the prompt leaves for an answer."""
        return None if self.limit is None or self.prompt is None else self.limit - self.prompt


def overflow(message: str, wanted: int = 0) -> Overflow | None:
    """What an engine's refusal says of lengths; None if it is about something else. `wanted` is the answer's length that was asked for."""
    if not _ABOUT.search(message[:2000]):
        return None
    limit, prompt, total = (_first(patterns, message[:2000]) for patterns in (_LIMITS, _PROMPTS, _TOTALS))
    if prompt is None and total is not None:
        prompt = total - wanted if total > wanted else total
    return Overflow(limit, prompt)


def _first(patterns: tuple[str, ...], message: str) -> int | None:
    for pattern in patterns:
        found = re.search(pattern, message, re.IGNORECASE)
        if found:
            return int(found.group(1))
    return None
