# SPDX-License-Identifier: Apache-2.0
"""A request that an engine refused, without what it refused: settings that a translation added, or that an answer is better without than not at all."""

from __future__ import annotations

from typing import Any

# Each is refused by some engine: a vLLM without --reasoning-config, engines and clouds that know no usage in streams, no effort, no parallel calls.
_HINTS = (
    "thinking_token_budget",
    "thinking_budget_tokens",
    "reasoning_effort",
    "chat_template_kwargs",
    "parallel_tool_calls",
    "stream_options",
    "verbosity",
    "continue_final_message",
    "add_generation_prompt",
)
# What an engine says instead of a setting's name.
_OTHER_NAMES = {"reasoning_config": "thinking_token_budget"}
REFUSALS = (400, 422)


def without_hints(said: dict[str, Any], refusal: str) -> bool:
    """Take out of a request what its refusal names. True when that was anything."""
    refused = {name for name in _HINTS if name in refusal} | {
        hint for name, hint in _OTHER_NAMES.items() if name in refusal
    }
    found = refused & said.keys()
    for name in found:
        del said[name]
    return bool(found)
