# SPDX-License-Identifier: Apache-2.0
"""OpenAI's Responses API (https://platform.openai.com/docs/api-reference/responses), said as a chat completion and back.

Nothing is stored: a conversation comes whole with each request (`previous_response_id`, `conversation` and `background` are refused). Tools are what
the caller runs: functions, custom tools, shells. `fields.py` says what becomes of every field.
"""

from __future__ import annotations

from llm_gateway.protocols import Translation
from llm_gateway.protocols.responses.reply import Responses
from llm_gateway.protocols.responses.request import Request, read

__all__ = ["Request", "open_responses"]


def open_responses(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return Responses(*read(body))
