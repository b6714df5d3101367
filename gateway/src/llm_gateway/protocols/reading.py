# SPDX-License-Identifier: Apache-2.0
"""JSON from strangers: decoded to a type, or refused with one sentence; and what engines say, read as far as it makes sense."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from llm_gateway.errors import UNREADABLE, ApiError, malformed
from llm_gateway.protocols import UntranslatableReply

T = TypeVar("T")
_BOM = b"\xef\xbb\xbf"


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


def readable(body: bytes) -> bytes:
    """The same JSON without what JavaScript's and Python's clients may write and no decoder here takes: a byte order mark, half a surrogate pair."""
    body = body.removeprefix(_BOM)
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    try:
        msgspec.json.decode(body)
    except UNREADABLE:
        try:
            text = json.dumps(json.loads(body), ensure_ascii=False)
        except (ValueError, RecursionError):
            return body
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    return body


def reply(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """An engine's reply. Raises UntranslatableReply."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise UntranslatableReply(f"the engine's reply makes no sense: {error}") from error


_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def loose(body: bytes) -> dict[str, Any]:
    """An engine's reply of which only a few fields are looked at; what is no object has none. Raises UntranslatableReply for what is no JSON."""
    try:
        found = _ANYTHING.decode(body)
    except UNREADABLE:
        found = reply(readable(body), _ANYTHING)
    return record(found)


def record(value: Any) -> dict[str, Any]:
    """An object, or an empty one for whatever else stands there."""
    return value if isinstance(value, dict) else {}


def records(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """A text; of a list of parts, or of a part, what text it holds."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text(each) for each in value)
    return text(value.get("text")) if isinstance(value, dict) else ""


def number(value: Any) -> int | None:
    """A count that an engine wrote as a number of any kind."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= 1 << 53 else None


def flat_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as plain text, for tokenizers that know no chat template: what they count is near, not exact."""
    lines = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = " ".join(
                part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
        lines.append(f"{message.get('role', '')}\n{content if isinstance(content, str) else ''}\n")
    return "".join(lines)


def cannot(what: str, param: str | None = None) -> ApiError:
    """400: understood, but the engines behind this gateway have no such thing."""
    return ApiError(400, what, code="unsupported_value", param=param)


encode = msgspec.json.Encoder().encode
