# SPDX-License-Identifier: Apache-2.0
"""What becomes of each field of a request to `/v1/responses`; those of objects within it as `object.field`. Others go to the engine as they came."""

from __future__ import annotations

from llm_gateway.protocols.fields import NO_PLACE, Fate, Fields

_STORED = "nothing is stored here; send the whole conversation as input."

FIELDS: Fields = {
    "model": (Fate.SAID, "`model`, after aliases"),
    "input": (Fate.SAID, "`messages`"),
    "instructions": (Fate.SAID, "the first of `messages`"),
    "max_output_tokens": (Fate.SAID, "`max_tokens`"),
    "temperature": (Fate.PASSED, ""),
    "top_p": (Fate.PASSED, ""),
    "user": (Fate.PASSED, ""),
    "parallel_tool_calls": (Fate.SAID, "`parallel_tool_calls`, where there are tools"),
    "prompt_cache_key": (Fate.PASSED, ""),
    "prompt_cache_retention": (Fate.PASSED, ""),
    "prompt_cache_options": (Fate.PASSED, ""),
    "safety_identifier": (Fate.PASSED, ""),
    "service_tier": (Fate.PASSED, ""),
    "stream": (Fate.SAID, "`stream`, with `stream_options.include_usage`"),
    "stream_options": (Fate.HINT, "obfuscation is for lines that others listen to"),
    "tools": (
        Fate.SAID,
        "`tools`; those that run on OpenAI's servers are left out, which `x-llm-gateway-left-out` says",
    ),
    "tools.function": (Fate.SAID, "a function: name, description, parameters, strict"),
    "tools.custom": (
        Fate.SAID,
        "a function with one text, whose grammar stands in its description; the call comes back as `custom_tool_call`",
    ),
    "tools.namespace": (Fate.SAID, "its tools as functions NAMESPACE__NAME; calls come back with their namespace"),
    "tools.local_shell": (Fate.SAID, "a function; calls come back as `local_shell_call`"),
    "tools.shell": (Fate.SAID, "a function; calls come back as `shell_call`"),
    "tools.apply_patch": (Fate.SAID, "a function; calls come back as `apply_patch_call`"),
    "tools.tool_search": (Fate.SAID, "a function where the client searches; left out where OpenAI's servers would"),
    "tool_choice": (Fate.SAID, "`tool_choice`; `allowed_tools` leaves the other tools out"),
    "text": (Fate.SAID, "its two fields"),
    "text.format": (Fate.SAID, "`response_format`"),
    "text.verbosity": (Fate.SAID, "`verbosity`"),
    "reasoning": (Fate.SAID, "its fields"),
    "reasoning.effort": (
        Fate.SAID,
        "`reasoning_effort`; xhigh and max are high, minimal is low, as engines know no more",
    ),
    "reasoning.summary": (Fate.HINT, "the thoughts themselves are in the answer"),
    "include": (
        Fate.SAID,
        "`message.output_text.logprobs` as `logprobs`; the rest is of tools that are not here, or of thoughts, which are told openly",
    ),
    "top_logprobs": (Fate.SAID, "`logprobs`, `top_logprobs`"),
    "metadata": (Fate.HERE, "comes back with the answer"),
    "truncation": (
        Fate.HERE,
        "nothing is cut from a prompt: one that is too long is refused by the engine, and the answer says `disabled`",
    ),
    "store": (Fate.HERE, "nothing is stored, and the answer says so"),
    "client_metadata": (Fate.HINT, "what Codex notes of its own session"),
    "max_tool_calls": (Fate.HINT, "counts only tools that run on OpenAI's servers"),
    "moderation": (Fate.HINT, "OpenAI's own moderation of an account"),
    "access_programs": (Fate.HINT, "OpenAI's own moderation of an account"),
    "image": (Fate.HINT, "of a tool that runs on OpenAI's servers"),
    "background_options": (Fate.HINT, "of background, which is refused"),
    "background": (Fate.REFUSED, _STORED),
    "conversation": (Fate.REFUSED, _STORED),
    "previous_response_id": (Fate.REFUSED, _STORED),
    "prompt": (Fate.REFUSED, "no prompts are stored here; send the text itself."),
    "context_management": (Fate.REFUSED, "a conversation is never shortened here; send a shorter one."),
    **NO_PLACE,
}
