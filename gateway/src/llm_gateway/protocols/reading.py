# SPDX-License-Identifier: Apache-2.0
"""JSON from strangers: decoded to a type, or refused with one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from llm_gateway.errors import UNREADABLE, ApiError, malformed
from llm_gateway.protocols import UntranslatableReply

T = TypeVar("T")


def request(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A client's request. Raises ApiError 400."""
    try:
        found = decoder.decode(body)
        # Fields that are passed on unread have not been looked at.
        if not body.isascii():
            body.decode("utf-8")
        return found
    except msgspec.MsgspecError as error:
        raise malformed(f"The body cannot be understood: {error}") from error
    except RecursionError as error:
        raise malformed("The body cannot be understood: it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise malformed("The body cannot be understood: it is not UTF-8") from error


def reply(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """An engine's reply. Raises UntranslatableReply."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise UntranslatableReply(f"the engine's reply makes no sense: {error}") from error


def flat_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as plain text, for tokenizers that know no chat template: what they count is near, not exact."""
    lines = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = " ".join(
                part["text"] for part in content if isinstance(part, dict) and _is_text(part.get("text"))
            )
        lines.append(f"{message.get('role', '')}\n{content if isinstance(content, str) else ''}\n")
    return "".join(lines)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def cannot(what: str, param: str | None = None) -> ApiError:
    """400: understood, but the engines behind this gateway have no such thing."""
    return ApiError(400, what, code="unsupported_value", param=param)


encode = msgspec.json.Encoder().encode
