# SPDX-License-Identifier: Apache-2.0
"""Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol): pages that may read what the gateway answers.

A key is shown in a header, never in a cookie, so credentials in the protocol's sense are not allowed, and `*` harms nobody but who gives his key to
a page.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_NAMES: Final = re.compile(rb"[A-Za-z0-9_, -]{1,2000}")
_EXPOSED: Final = b"access-control-expose-headers: x-request-id, request-id, retry-after, x-llm-gateway-left-out, x-llm-gateway-engine\r\n"
PREFLIGHT_AGE_S: Final = 600


class Cors:
    """Which origins may read. None: the protocol is not spoken at all."""

    __slots__ = ("_all", "_origins")

    def __init__(self, origins: Collection[str]) -> None:
        self._all = "*" in origins
        self._origins = frozenset(origin.encode("latin-1", "replace").rstrip(b"/") for origin in origins)

    def lines(self, origin: bytes) -> bytes:
        """Header lines of a reply to a page of this origin; none, if it may not read it."""
        if self._all:
            return b"access-control-allow-origin: *\r\n" + _EXPOSED
        if origin not in self._origins:
            return b""
        return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)

    def preflight(self, origin: bytes, wanted: bytes) -> bytes:
        """The reply to a browser that asks beforehand, for these header names; nothing, if the origin may not."""
        lines = self.lines(origin)
        if not lines:
            return b""
        names = wanted if _NAMES.fullmatch(wanted) else b"authorization, content-type, x-api-key"
        return (
            b"HTTP/1.1 204 No Content\r\n%baccess-control-allow-methods: GET, HEAD, POST, DELETE\r\n"
            b"access-control-allow-headers: %b\r\naccess-control-max-age: %d\r\nconnection: close\r\n\r\n"
        ) % (lines, names, PREFLIGHT_AGE_S)
