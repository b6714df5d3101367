# SPDX-License-Identifier: Apache-2.0
"""Token counts of streams whose clients did not ask for them: the gateway asks, and takes the answer out of the stream again. No I/O.

Without it a stream is counted by its events, and engines put several tokens into one (speculative decoding, vLLM's `stream_interval`).
See https://platform.openai.com/docs/api-reference/chat/create, `stream_options`.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from llm_gateway.errors import UNREADABLE

_PATHS: Final = frozenset({b"/v1/chat/completions", b"/v1/completions"})
_ASK: Final = b'{"stream_options":{"include_usage":true},'
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPTIONS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_NULL: Final = re.compile(rb',\s*"usage"\s*:\s*null')
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def asking(path: bytes, body: bytes) -> bytes | None:
    """The request, asking for usage; None: it asks already, or is of a kind that cannot be asked."""
    if path not in _PATHS:
        return None
    if b'"stream_options"' not in body:
        # Joined in front, as a prompt may be long: nothing of it is decoded.
        rest = body.lstrip()[1:].lstrip()
        return _ASK + rest if rest and rest[:1] != b"}" else None
    try:
        fields = _FIELDS.decode(body)
        options = _OPTIONS.decode(fields.get("stream_options", b"null")) or {}
    except UNREADABLE:
        return None  # the engine's to refuse
    if options.get("include_usage") == msgspec.Raw(b"true"):
        return None
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def hidden(events: bytes) -> bytes:
    """Whole events, without what was added for the asking: the event with the usage alone, and `"usage": null` in the others."""
    found = []
    start = 0
    for end in _EVENT_END.finditer(events):
        event = events[start : end.end()]
        start = end.end()
        if b'"usage"' in event:
            if _NO_CHOICES.search(event) is not None:
                continue
            event = _NULL.sub(b"", event)
        found.append(event)
    found.append(events[start:])
    return b"".join(found)
