# SPDX-License-Identifier: Apache-2.0
"""What becomes of a field that a client of another language sends. Nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from llm_gateway.protocols.reading import cannot

Fields = Mapping[str, "tuple[Fate, str]"]


class Fate(Enum):
    """What becomes of a field."""

    SAID = "said in a chat's words"
    PASSED = "passed on as it came"
    HERE = "done by the gateway"
    HINT = "changes no answer"  # a hint for a vendor's cache, billing or storage
    REFUSED = "refused by name"


_NOTHING = (b"null", b"false", b"[]", b"{}", b'""', b"0")
_RAW: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def passed_on(body: bytes, fields: Fields) -> dict[str, Any]:
    """What goes to the engine as it came: what the table says, and every field that it does not know. Raises ApiError 400 for what it refuses."""
    found = {}
    for name, value in _RAW.decode(body).items():
        fate, what = fields.get(name, (Fate.PASSED, ""))
        if fate is Fate.REFUSED and bytes(value) not in _NOTHING:
            raise cannot(f"{name}: {what}", name)
        if fate is Fate.PASSED and bytes(value) != b"null":
            found[name] = value
    return found


# What engines may be asked besides, and the languages that are translated have no place for in an answer.
NO_PLACE: dict[str, tuple[Fate, str]] = {
    name: (Fate.REFUSED, f"an answer of this API has no place for {what}; use /v1/chat/completions.")
    for name, what in {
        "n": "several answers",
        "best_of": "several answers",
        "prompt_logprobs": "the prompt's log probabilities",
        "return_token_ids": "ids of tokens",
        "return_tokens_as_token_ids": "ids of tokens",
        "return_hidden_states": "hidden states",
        "modalities": "other kinds of answers",
        "audio": "spoken answers",
        "echo": "the prompt",
    }.items()
}
