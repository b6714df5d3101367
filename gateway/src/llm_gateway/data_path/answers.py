# SPDX-License-Identifier: Apache-2.0
"""What a client is told of an engine's answer, or of there being none. Pure functions."""

from __future__ import annotations

from typing import Final

from llm_gateway.errors import ApiError, EngineError, unavailable
from llm_gateway.protocols import Translation, UntranslatableReply, chat

_ENDS_OF_JSON: Final = (125, 93)  # a brace, a bracket
# Answers of these types are JSON or nothing: a page of HTML is some proxy's.
_NOT_FILES: Final = (b"application/json", b"text/html")


def is_file(content_type: bytes) -> bool:
    """Whether an answer of this type is something else than JSON: speech, pictures, vectors as bytes, subtitles."""
    return content_type != b"" and not content_type.startswith(_NOT_FILES)


def said_back(translation: Translation | None, body: bytes, *, stream: bool) -> bytes:
    """A whole answer in the client's words: as the stream that was asked for, where an engine knows no streams. Raises UntranslatableReply, and
    ApiError where the answer is an error after all."""
    if not body or (body[-1] not in _ENDS_OF_JSON and not body.rstrip().endswith((b"}", b"]"))):
        raise UntranslatableReply("no JSON")
    if translation is None:
        return body
    return translation.piece(chat.as_stream(body)) + translation.end() if stream else translation.whole(body)


def verdict(error: EngineError) -> ApiError:
    """What a client is told when no engine has answered; `error` is the last one's."""
    if error.kind in ("first_byte_timeout", "request_timeout"):
        return ApiError(
            504, "No engine answered in time. Try again later.", code="engine_timeout", error_type="server_error"
        )
    if error.kind in ("refused", "unreachable", "connect_timeout", "tls"):
        return unavailable("No engine can be reached. Try again later.")
    return ApiError(502, "The engine's answer broke off. Try again.", code="engine_error", error_type="server_error")
