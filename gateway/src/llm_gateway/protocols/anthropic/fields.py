# SPDX-License-Identifier: Apache-2.0
"""What becomes of each field of a request to `/v1/messages`; those of objects within it as `object.field`. Others go to the engine as they came."""

from __future__ import annotations

from llm_gateway.protocols.fields import NO_PLACE, Fate, Fields

_STORED = "nothing is stored here."
_SERVERS = "runs on Anthropic's servers only."

FIELDS: Fields = {
    "model": (Fate.SAID, "`model`, after aliases"),
    "messages": (Fate.SAID, "`messages`"),
    "system": (
        Fate.SAID,
        "the first of `messages`; the line that Claude Code writes for billing is left out, as it changes with every request",
    ),
    "max_tokens": (
        Fate.SAID,
        "`max_tokens`; cut to what the context leaves, where the engine says that it is too much",
    ),
    "stream": (Fate.SAID, "`stream`, with `stream_options.include_usage`"),
    "stop_sequences": (Fate.SAID, "`stop`"),
    "temperature": (Fate.PASSED, ""),
    "top_p": (Fate.PASSED, ""),
    "top_k": (Fate.PASSED, ""),
    "metadata": (Fate.SAID, "`user` (`metadata.user_id`)"),
    "tools": (
        Fate.SAID,
        "`tools`; those that run on Anthropic's servers are left out, which `x-llm-gateway-left-out` says",
    ),
    "tool_choice": (Fate.SAID, "`tool_choice`, `parallel_tool_calls`"),
    "thinking": (Fate.SAID, "`chat_template_kwargs.enable_thinking`"),
    "thinking.budget_tokens": (
        Fate.SAID,
        "`thinking_token_budget` (vLLM), `thinking_budget_tokens` (llama.cpp), `chat_template_kwargs.thinking_budget`",
    ),
    "thinking.display": (Fate.HERE, "`omitted`: the thoughts are left out of the answer"),
    "output_config": (Fate.SAID, "its two fields"),
    "output_config.effort": (Fate.SAID, "`reasoning_effort`; xhigh and max are high, as engines know no more"),
    "output_config.format": (Fate.SAID, "`response_format`"),
    "output_format": (Fate.SAID, "`response_format`"),
    "tools.name": (Fate.SAID, "`function.name`"),
    "tools.description": (Fate.SAID, "`function.description`"),
    "tools.input_schema": (Fate.SAID, "`function.parameters`"),
    "tools.strict": (Fate.SAID, "`function.strict`"),
    "tools.input_examples": (Fate.SAID, "a line of `function.description`"),
    "tools.type": (Fate.HERE, "bash, text_editor, memory and computer become functions, as clients run them"),
    "tools.defer_loading": (Fate.HERE, "the tool is there from the beginning"),
    "tools.cache_control": (Fate.HINT, "engines keep prompts by themselves"),
    "tools.eager_input_streaming": (Fate.HINT, "tool inputs are always streamed"),
    "tools.allowed_callers": (Fate.HINT, "nothing but the model can call a tool here"),
    "cache_control": (Fate.HINT, "engines keep prompts by themselves"),
    "service_tier": (Fate.HINT, "billing"),
    "inference_geo": (Fate.HINT, "engines are where the cluster is"),
    "speed": (Fate.HINT, "billing"),
    "diagnostics": (Fate.HINT, "Anthropic's cache"),
    "betas": (Fate.HINT, "what is served does not depend on it"),
    "billing_policy": (Fate.HINT, "billing"),
    "user_profile_id": (Fate.HINT, "billing"),
    "workspace_id": (Fate.HINT, "billing"),
    "fallback_credit_token": (Fate.HINT, "billing"),
    "fallbacks": (Fate.HINT, "fallbacks are the gateway's own setting"),
    "context_management": (Fate.HINT, "an edit of old turns that only saves tokens; the whole conversation is read"),
    "container": (Fate.REFUSED, f"a container {_SERVERS}"),
    "mcp_servers": (Fate.REFUSED, f"a connection to MCP servers {_SERVERS}"),
    "compaction": (Fate.REFUSED, _STORED),
    "thread": (Fate.REFUSED, _STORED),
    **NO_PLACE,
    "logprobs": (Fate.REFUSED, "an answer of this API has no place for log probabilities; use /v1/chat/completions."),
    "top_logprobs": (
        Fate.REFUSED,
        "an answer of this API has no place for log probabilities; use /v1/chat/completions.",
    ),
}
