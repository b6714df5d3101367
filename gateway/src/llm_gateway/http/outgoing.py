# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to somebody else's server, off the data path: JWKS, OpenID configuration, traces."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import httptools

from llm_gateway.errors import GatewayError

MAX_REPLY_BYTES = 4 << 20


class OutgoingError(GatewayError):
    """No usable answer."""


class _Reply:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        self.size += len(body)

    def on_message_complete(self) -> None:
        self.complete = True


async def request(
    method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> tuple[int, bytes]:
    """Status and body. Raises OutgoingError when there is no whole answer in time."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OutgoingError(f"expected http(s)://HOST… (got {url!r})")
    context = ssl.create_default_context() if parts.scheme == "https" else None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"{method} {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\naccept: application/json\r\nconnection: close\r\n"
    if body:
        head += "content-type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head += f"content-length: {len(body)}\r\n\r\n" if body or method != "GET" else "\r\n"
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if context else 80), ssl=context
            )
            try:
                writer.write(head.encode("latin-1") + body)
                reply = _Reply()
                parser = httptools.HttpResponseParser(reply)
                while not reply.complete:
                    data = await reader.read(1 << 16)
                    if not data:
                        break
                    parser.feed_data(data)
                    if reply.size > MAX_REPLY_BYTES:
                        raise OutgoingError(f"{url}: the reply is endless")
                return parser.get_status_code(), b"".join(reply.pieces)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise OutgoingError(f"{url}: no answer in {timeout_s:g} s") from error
    except (OSError, httptools.HttpParserError) as error:
        raise OutgoingError(f"{url}: {error}") from error
