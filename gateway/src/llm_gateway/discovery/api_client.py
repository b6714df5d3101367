# SPDX-License-Identifier: Apache-2.0
"""Just enough of an HTTPS client for the Kubernetes API: one GET at a time, whole or line by line."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httptools

from llm_gateway.errors import ConfigError, GatewayError

MAX_REPLY_BYTES = 256 << 20
CONNECT_TIMEOUT_S = 5.0


class ApiServerError(GatewayError):
    """The API server could not be asked, or refused. `status` 0: no answer at all."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is, and how it knows us."""

    url: str
    token_file: str = ""
    ca_file: str = ""

    @classmethod
    def in_cluster(
        cls, url: str, token_file: str, ca_file: str, environment: Mapping[str, str] = os.environ
    ) -> ApiServer:
        """The API server of the pod's own cluster, unless `url` names another. Raises ConfigError."""
        if not url:
            host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
            if not host:
                raise ConfigError(
                    "kubernetes: not in a pod (KUBERNETES_SERVICE_HOST is not set); say --kubernetes-api URL"
                )
            url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return cls(url.rstrip("/"), token_file, ca_file)


class _Reply:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.head = self.complete = False

    def on_headers_complete(self) -> None:
        self.head = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True

    def take(self) -> bytes:
        """What has come since the last call."""
        pieces, self.pieces = self.pieces, []
        return b"".join(pieces)


class _Watchdog:
    """Cuts a connection from which nothing has come for `limit_s`. A timer for each piece would cost more than reading it."""

    def __init__(self, transport: asyncio.WriteTransport, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._limit_s = limit_s
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(limit_s, self._look)
        self.bit = False

    def heard(self) -> None:
        """Something came."""
        self._heard_at = self._loop.time()

    def stop(self) -> None:
        """The connection is done with."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._heard_at + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self.bit = True
            self._transport.abort()


class ApiClient:
    """GETs from an API server. Token and CA are read for every call: both are rotated under a running pod."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        parts = urlsplit(server.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"kubernetes API: expected http(s)://HOST:PORT (got {server.url!r})")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._authority = parts.netloc

    def _context(self) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        try:
            return ssl.create_default_context(cafile=self._server.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ApiServerError(0, f"CA file {self._server.ca_file}: {error}") from error

    def _authorization(self) -> str:
        if not self._server.token_file:
            return ""
        try:
            token = Path(self._server.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiServerError(0, f"token file {self._server.token_file}: {error}") from error
        return f"authorization: Bearer {token}\r\n"

    async def chunks(self, path: str, idle_timeout_s: float) -> AsyncIterator[bytes]:
        """The body of a GET as it comes. Raises ApiServerError; also when nothing comes for `idle_timeout_s`."""
        authorization = self._authorization()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._context())
        except TimeoutError as error:
            raise ApiServerError(0, f"{self._server.url}: no connection in {CONNECT_TIMEOUT_S:g} s") from error
        except OSError as error:  # also what TLS has to complain about
            raise ApiServerError(0, f"{self._server.url}: {error}") from error
        watchdog = _Watchdog(writer.transport, idle_timeout_s)
        try:
            request = f"GET {path} HTTP/1.1\r\nhost: {self._authority}\r\naccept: application/json\r\n{authorization}connection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            reply = _Reply()
            parser = httptools.HttpResponseParser(reply)
            while not reply.complete:
                data = await reader.read(1 << 16)
                if not data:
                    why = f"silent for {idle_timeout_s:g} s" if watchdog.bit else "the connection ended within a reply"
                    raise ApiServerError(0, f"{self._server.url}: {why}")
                watchdog.heard()
                parser.feed_data(data)
                status = parser.get_status_code() if reply.head else 0
                if reply.head and status != 200:
                    raise ApiServerError(status, f"{self._server.url}{path.partition('?')[0]}: status {status}")
                piece = reply.take()
                if piece:
                    yield piece
        except (OSError, httptools.HttpParserError) as error:
            raise ApiServerError(0, f"{self._server.url}: {error}") from error
        finally:
            watchdog.stop()
            writer.transport.abort()

    async def get(self, path: str, timeout_s: float) -> bytes:
        """The whole body of a GET. Raises ApiServerError."""
        pieces, size = [], 0
        async for piece in self.chunks(path, timeout_s):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                raise ApiServerError(0, f"{self._server.url}: the reply is endless")
        return b"".join(pieces)

    async def lines(self, path: str, idle_timeout_s: float) -> AsyncIterator[bytes]:
        """The lines of a GET as they come. Raises ApiServerError."""
        rest = b""
        async for piece in self.chunks(path, idle_timeout_s):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line:
                    yield line
