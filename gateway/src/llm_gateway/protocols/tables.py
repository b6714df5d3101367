# SPDX-License-Identifier: Apache-2.0
"""Which paths are served, and who translates what."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.errors import ApiError
from llm_gateway.protocols import Opener, anthropic, responses, tgi, tokens

# OpenAI's inference paths and their common kin: a JSON body with a `model` goes to the engine as it came. Which of them there are is the
# engine's to say.
NATIVE: frozenset[bytes] = frozenset(
    {
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/embeddings",
        b"/v1/rerank",
        b"/v2/rerank",
        b"/v1/score",
        b"/rerank",
        b"/score",
        b"/pooling",
        b"/v1/pooling",
        b"/classify",
        b"/v1/classify",
        b"/v1/moderations",
        b"/v1/audio/speech",
        b"/v1/images/generations",
        b"/tokenize",
        b"/detokenize",
    }
)

# Of these, all answers are JSON or streams of events.
TEXTS: frozenset[bytes] = frozenset({b"/v1/chat/completions", b"/v1/completions"})

# The same with forms instead of JSON: files go to the engine as they came.
FORMS: frozenset[bytes] = frozenset(
    {
        b"/v1/audio/transcriptions",
        b"/v1/audio/translations",
        b"/v1/images/edits",
        b"/v1/images/variations",
    }
)

# What clients may say besides, by path.
CLIENTS: dict[bytes, Opener] = {
    b"/v1/messages": anthropic.open_messages,
    b"/v1/messages/count_tokens": anthropic.open_count,
    b"/v1/responses": responses.open_responses,
    b"/generate": tgi.open_generate,
    b"/generate_stream": tgi.open_generate,
}

# Engines that do not speak OpenAI's language on every path, by kind (the label `llm.on-eks/engine`).
ENGINES: dict[str, Opener] = {
    "tgi": tgi.open_engine,
    "llamacpp": tokens.open_llamacpp,
    "tgw": tokens.open_tgw,
}

# How an error is worded where there is no translation yet (a wrong key, a body that cannot be read); OpenAI's way where a path is not named.
ERRORS: dict[bytes, Callable[[ApiError], bytes]] = {
    b"/v1/messages": ApiError.anthropic_body,
    b"/v1/messages/count_tokens": ApiError.anthropic_body,
    b"/generate": tgi.error_body,
    b"/generate_stream": tgi.error_body,
}


def error_body(path: bytes, error: ApiError) -> bytes:
    """The body of an error reply, in the words of the path's protocol."""
    worded = ERRORS.get(path)
    return error.body() if worded is None else worded(error)
