# SPDX-License-Identifier: Apache-2.0
"""OpenAI's requests: the few fields that routing, limits and metrics need. The rest goes to the engine as it came."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from llm_gateway.errors import UNREADABLE, ApiError, malformed
from llm_gateway.protocols.asked import Asked, Usage
from llm_gateway.protocols.reading import readable

# What is longer is left to the decoder.
MAX_DIGITS: Final = 15
MAX_WAIT_S: Final = 30 * 86400.0
_DECODER: Final = msgspec.json.Decoder(Asked)
_ANYTHING: Final = msgspec.json.Decoder()
# What is looked into; the rest stays undecoded.
_READ: Final = ("model", "stream", "max_tokens", "max_completion_tokens", "n")
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_USAGE: Final = msgspec.json.Decoder(Usage)


def read(body: bytes) -> Asked:
    """The request's own fields. Raises ApiError 400."""
    try:
        asked = _DECODER.decode(body)
        # What was skipped over has not been looked at; engines differ in what they do with bytes that are no text.
        if not body.isascii():
            body.decode("utf-8")
    except UNREADABLE as error:
        lenient = None if isinstance(error, UnicodeDecodeError) else _read_leniently(body)
        if lenient is None:
            raise malformed(f"The body cannot be understood: {_why(error)}") from error
        return lenient
    return asked


def _read_leniently(body: bytes) -> Asked | None:
    """A body as engines still take it: numbers and truth as text, whole floats, no model, a byte order mark, half a surrogate pair.

    None where that does not help. The body itself goes on as it came.
    """
    try:
        if not body.isascii():
            body.decode("utf-8")
        fields = _fields(body)
        said: dict[str, Any] = {name: _ANYTHING.decode(fields[name]) for name in _READ if name in fields}
        model = said.get("model") or ""
        if not isinstance(model, str):
            return None
        return Asked(
            model=model,
            stream=_truth(said.get("stream")),
            max_tokens=_whole(said.get("max_tokens")),
            max_completion_tokens=_whole(said.get("max_completion_tokens")),
            n=_whole(said.get("n")),
            **{name: fields[name] for name in ("user", "messages", "prompt", "input") if name in fields},
        )
    except (*UNREADABLE, TypeError, ValueError, OverflowError):
        return None


def _truth(value: Any) -> bool | None:
    """As pydantic reads a truth, which is what most engines do. Raises ValueError."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in ("0", "1", "true", "false"):
        raise ValueError(text)
    return text in ("1", "true")


def _whole(value: Any) -> int | None:
    """A whole number, also as text or float. Raises ValueError, TypeError or OverflowError."""
    if value is None:
        return None
    if isinstance(value, bool) or float(value) != int(float(value)) or abs(float(value)) > 1 << 53:
        raise ValueError(value)
    return int(float(value))


def answer_tokens(asked: Asked, otherwise: int) -> int:
    """The most tokens that all answers may have; of one, `otherwise`, where the request sets no maximum."""
    most = asked.max_tokens or asked.max_completion_tokens or 0
    return (most if most > 0 else otherwise) * max(1, asked.n or 1)


def content(asked: Asked) -> msgspec.Raw:
    """The prompt as the client wrote it."""
    return asked.messages or asked.prompt or asked.input


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Raises what is in UNREADABLE."""
    try:
        return _FIELDS.decode(body)
    except msgspec.MsgspecError:
        return _FIELDS.decode(readable(body))


def with_model(body: bytes, model: str) -> bytes:
    """The request, asking for another model. Raises ApiError 400."""
    try:
        fields = _fields(body)
    except UNREADABLE as error:
        raise malformed(f"The body cannot be understood: {_why(error)}") from error
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error)


def usage_in(tail: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) from a reply's last bytes, if it tells them."""
    start = tail.rfind(b'"usage"')
    if start < 0:
        return None
    start = tail.find(b"{", start + 7)
    if start < 0:
        return None
    plain = plain_usage(tail, start)
    if plain is not None:
        return plain
    end = _closing(tail, start)
    if end < 0:
        return None
    try:
        usage = _USAGE.decode(tail[start:end])
    except UNREADABLE:
        return None
    return usage.prompt_tokens, usage.completion_tokens or 0


def plain_usage(text: bytes, at: int) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of the object at `at`, if up to them, or to its end, it holds nothing but numbers and nulls, as engines
    mostly write it; else None."""
    size = len(text)
    prompt = completion = -1
    while True:
        # At an opening brace, or at a comma. Byte by byte: compiled, that is quicker than the decoder.
        at += 1
        if at < size and text[at] == 32:
            at += 1
        name_at = at + 1
        if name_at >= size or text[at] != 34:
            return None
        at = name_at
        while at < size and (97 <= text[at] <= 122 or text[at] == 95):
            at += 1
        name = text[name_at:at]
        if at + 3 > size or text[at] != 34 or text[at + 1] != 58:
            return None
        at += 3 if text[at + 2] == 32 else 2
        begin = at
        number = 0
        while at < size and 48 <= text[at] <= 57 and at - begin < MAX_DIGITS:
            number = number * 10 + text[at] - 48
            at += 1
        if at == begin and name != b"prompt_tokens" and text[at : at + 4] == b"null":
            at += 4
        elif at == begin or (at - begin > 1 and text[begin] == 48):
            return None
        if name == b"prompt_tokens":
            prompt = number
        elif name == b"completion_tokens":
            completion = number
        if at >= size:
            return None
        if text[at] != 44 and text[at] != 125:
            return None
        if text[at] == 125 or (prompt >= 0 and completion >= 0):
            return max(prompt, 0), max(completion, 0)


def _closing(text: bytes, start: int) -> int:
    """The position after the brace that closes the one at `start`; usage objects nest, but hold no text with braces."""
    depth = 0
    position = start
    while True:
        closing = text.find(b"}", position)
        if closing < 0:
            return -1
        depth += text.count(b"{", position, closing) - 1
        position = closing + 1
        if depth <= 0:
            return position


def error_message(body: bytes) -> str | None:
    """What an engine's error reply says, in whichever of the customary shapes it says it."""
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    for candidate in (error, document.get("message"), document.get("detail")):
        if isinstance(candidate, str) and candidate:
            return candidate
    detail = document.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place = detail[0].get("loc")
        where = ".".join(str(part) for part in place) if isinstance(place, list) else "?"
        return f"{where}: {detail[0].get('msg', 'invalid')}"
    return None


def _words_of(body: bytes) -> dict[str, Any]:
    """What an engine's error says for programs: code, type, param, counts such as llama.cpp's `n_ctx`. Agents compact by these.

    Plain values alone, and few of them. A number for a code is the status once more.
    """
    try:
        error = _ANYTHING.decode(body)["error"]
        found = {name: value for name, value in error.items() if name != "message" and len(name) <= 64}
    except (*UNREADABLE, TypeError, LookupError, AttributeError):
        return {}
    kept = {name: value for name, value in found.items() if _is_plain(value)}
    for name in ("code", "type", "param"):
        if not isinstance(kept.get(name), str) or not kept[name]:
            kept.pop(name, None)
    return dict(list(kept.items())[:16])


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 1 << 53
    return isinstance(value, float) or (isinstance(value, str) and len(value) <= 256)


def wait_s(retry_after: bytes) -> float | None:
    """Seconds, from a Retry-After in either of its forms (RFC 9110 section 10.2.3)."""
    text = retry_after.decode("latin-1")
    try:
        return max(0.0, min(float(text), MAX_WAIT_S)) if text[:1].isdigit() else _seconds_until(text)
    except ValueError:
        return None


def _seconds_until(text: str) -> float | None:
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    return max(0.0, min(parsedate_to_datetime(text).timestamp() - time.time(), MAX_WAIT_S))


def from_engine(status: int, body: bytes, retry_after: bytes = b"") -> ApiError:
    """An engine's refusal in OpenAI's shape: 422 and its like are 400 to a client, whatever the engine's framework says. `retry_after` is
    the header of that name."""
    wait = wait_s(retry_after)
    message = error_message(body) or f"The engine answered with status {status}."
    said = _words_of(body)
    if status in (400, 405, 406, 409, 415, 422):
        return ApiError(400, message, code="invalid_request", said=said)
    if status == 404:
        return ApiError(404, message, code="not_found")
    if status == 413:
        return ApiError(413, message, code="request_too_large")
    if status in (401, 403):
        # The gateway's own key was refused; that is nothing a client could mend.
        return ApiError(
            502, "The engine refused the gateway's key.", code="engine_refused_key", error_type="server_error"
        )
    if status == 429:
        return ApiError(
            429,
            message,
            code="engine_overloaded",
            error_type="rate_limit_error",
            retry_after_s=1 if wait is None else wait,
            said=said,
        )
    if status == 501:
        return ApiError(501, message, code="not_implemented", error_type="server_error")
    return ApiError(
        503 if status == 503 else 502,
        message,
        code="engine_error",
        error_type="server_error",
        retry_after_s=1 if status == 503 and wait is None else wait,
    )
