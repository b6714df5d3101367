# SPDX-License-Identifier: Apache-2.0
"""The spellings of a path that clients are set up with, and the one that is served.

Base URLs end with a slash, or lack `/v1`, or have it twice; Azure's clients put the deployment into the path, Anthropic's and others a prefix
before it. What is meant is plain, so it is done. Whoever asks needs a good key in any case.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from llm_gateway.protocols import tables

_SLASHES: Final = re.compile(rb"//+")
_DEPLOYMENTS: Final = b"/deployments/"
_MODELS: Final = b"/v1/models"
# What inference is asked for at, by POST.
POSTED: Final = tables.NATIVE.union(tables.FORMS, tables.CLIENTS)
# What answers without a key, or is no inference; other spellings of it are taken as well.
_OTHERS: Final = frozenset(
    {b"/healthz", b"/readyz", b"/health", b"/ping", b"/version", b"/metrics", b"/openapi.json", b"/v1", b"/", _MODELS}
)


def served(path: bytes, *, posted: bool) -> tuple[bytes, bytes]:
    """(the path that is served, the model that it names or nothing). A path that means nothing here stays as it is, for the reply to name it."""
    found, model = _served(path)
    return (path, b"") if posted and found not in POSTED else (found, model)


def _served(path: bytes) -> tuple[bytes, bytes]:
    if path in POSTED or path in _OTHERS:
        return path, b""
    plain = _SLASHES.sub(b"/", path)
    if plain.startswith(_MODELS + b"/") and len(plain) > len(_MODELS) + 1:
        return path if plain == path else plain, b""
    plain = plain.rstrip(b"/") or b"/"
    plain, model = _deployment(plain)
    at = plain.rfind(b"/v1/")
    ways = (plain, plain[at:] if at > 0 else plain, b"/v1" + plain, *_after_base(plain))
    for way in ways:
        if way in POSTED or way in _OTHERS:
            return way, model
    at = plain.find(_MODELS + b"/")
    if at > 0:
        return plain[at:], b""
    return (b"/v1" + plain, b"") if plain.startswith(b"/models/") else (path, b"")


def _deployment(path: bytes) -> tuple[bytes, bytes]:
    """(what stands after a deployment's name, that name). Some of Azure's clients quote a slash in it, others do not."""
    at = path.find(_DEPLOYMENTS)
    start = at + len(_DEPLOYMENTS)
    end = path.find(b"/", start) if at >= 0 else -1
    while end > 0:
        rest = path[end:]
        if rest in POSTED or b"/v1" + rest in POSTED:
            return rest, unquote_to_bytes(path[start:end])
        end = path.find(b"/", end + 1)
    return path, b""


def _after_base(path: bytes) -> tuple[bytes, ...]:
    """What stands after the base paths of vendors, without and with `/v1`."""
    for base in (b"/openai", b"/anthropic", b"/api"):
        if path.startswith(base + b"/"):
            return path[len(base) :], b"/v1" + path[len(base) :]
    return ()
