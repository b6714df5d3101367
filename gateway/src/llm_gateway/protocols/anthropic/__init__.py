# SPDX-License-Identifier: Apache-2.0
"""Anthropic's Messages API (https://docs.anthropic.com/en/api/messages), said in OpenAI's words and back.

Text, images, documents of text, tools, thinking, stop sequences and streaming are translated both ways. Tools that Anthropic's own servers run
are left out, and the reply says so; what no engine behind this gateway can read (PDF documents, containers) is refused with a 400 that names it.
`fields.py` says what becomes of every field.
"""

from __future__ import annotations

from llm_gateway.protocols import Translation
from llm_gateway.protocols.anthropic.reply import Messages, TokenCount
from llm_gateway.protocols.anthropic.request import CountRequest, Request, read, read_count

__all__ = ["CountRequest", "Request", "open_count", "open_messages"]


def open_messages(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return Messages(*read(body))


def open_count(path: bytes, body: bytes) -> Translation:
    """See protocols.Opener."""
    return TokenCount(read_count(body))
