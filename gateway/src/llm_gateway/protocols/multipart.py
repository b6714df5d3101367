# SPDX-License-Identifier: Apache-2.0
"""Forms with files (RFC 7578), as transcriptions and pictures are asked for: the few fields that matter here, without looking at the files."""

from __future__ import annotations

import re
from typing import Final

from llm_gateway.errors import malformed
from llm_gateway.protocols.asked import Asked

_BOUNDARY: Final = re.compile(rb'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
_NAME: Final = re.compile(rb'content-disposition:[^\r\n]*[;\s]name="?([^";\r\n]*)"?', re.IGNORECASE)
_MAX_HEAD_BYTES: Final = 8192
_MAX_FIELD_BYTES: Final = 1024
_MAX_PARTS: Final = 1000
FORM: Final = b"multipart/form-data"


def read(content_type: bytes, body: bytes) -> Asked:
    """What a form says about itself. Raises ApiError 400."""
    fields = _fields(content_type, body)
    model = _text(fields, body, b"model")
    return Asked(model=model, stream=_text(fields, body, b"stream").lower() in ("true", "1"))


def with_model(content_type: bytes, body: bytes, model: str) -> bytes:
    """The form, asking for another model. Raises ApiError 400."""
    fields = _fields(content_type, body)
    if b"model" not in fields:
        boundary = _boundary(content_type)
        return b'--%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n%b' % (
            boundary,
            model.encode(),
            body,
        )
    start, end = fields[b"model"]
    return body[:start] + model.encode() + body[end:]


def _boundary(content_type: bytes) -> bytes:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise malformed("The form's Content-Type names no boundary.")
    return found[1]


def _fields(content_type: bytes, body: bytes) -> dict[bytes, tuple[int, int]]:
    """Where the content of each field stands in the body; of files, too."""
    delimiter = b"\r\n--" + _boundary(content_type)
    found: dict[bytes, tuple[int, int]] = {}
    # The first delimiter stands at the very beginning, without a line before it.
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if at < 2 and not body.startswith(delimiter[2:]):
        raise malformed("The form has no part that begins with its boundary.")
    at += len(delimiter) - 2
    for __ in range(_MAX_PARTS):
        if body[at : at + 2] == b"--":
            return found
        head_end = body.find(b"\r\n\r\n", at, at + _MAX_HEAD_BYTES)
        end = body.find(delimiter, head_end + 2) if head_end >= 0 else -1
        if end < 0:
            break
        name = _NAME.search(body, at, head_end)
        if name is not None:
            found.setdefault(name[1], (head_end + 4, max(end, head_end + 4)))
        at = end + len(delimiter)
    raise malformed("The form is broken: a part of it has no head, or no end.")


def _text(fields: dict[bytes, tuple[int, int]], body: bytes, name: bytes) -> str:
    start, end = fields.get(name, (0, 0))
    if end - start > _MAX_FIELD_BYTES:
        raise malformed(f"The form's {name.decode()} is too long.", param=name.decode())
    try:
        return body[start:end].decode()
    except UnicodeDecodeError:
        raise malformed(f"The form's {name.decode()} is not UTF-8.", param=name.decode()) from None
