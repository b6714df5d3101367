# SPDX-License-Identifier: Apache-2.0
"""Just enough of an HTTPS client for the Kubernetes API: one GET at a time, whole or line by line."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools

from llm_gateway.errors import ConfigError, GatewayError

MAX_REPLY_BYTES = 256 << 20
CONNECT_TIMEOUT_S = 5.0
READ_AHEAD_BYTES = 4 << 20
# A watch says nothing for minutes. Without these, a connection that something between has forgotten (a mesh that took in this pod, a NAT
# gateway, a server whose node died) is silent like a good one. Seconds of silence, seconds between probes, and probes.
KEEP_ALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


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
    def in_cluster(  # pylint: disable=dangerous-default-value
        cls,
        url: str,
        token_file: str,
        ca_file: str,
        environment: Mapping[str, str] = os.environ,  # pylint: disable=dangerous-default-value
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


class _Reply(asyncio.Protocol):
    """The reply to one GET, as it comes; llhttp calls it as well.

    Not a StreamReader: an event of a watch is tens of kilobytes, and copies of it cost (README, "Memory in no cache")."""

    def __init__(self, idle_timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_timeout_s = idle_timeout_s
        self._heard_at = self._loop.time()
        # One timer that looks now and then: one for each piece would cost more than reading it.
        self._timer = self._loop.call_later(idle_timeout_s, self._look)
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._complete = False
        self._error = ""
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0

    async def take(self) -> bytes:
        """What has come of the body since the last call, or what comes next; nothing at the end. Raises ApiServerError."""
        while not (self._pieces or self._complete or self._error or self.status not in (0, 200)):
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.status not in (0, 200):
            raise ApiServerError(self.status, f"status {self.status}")
        if not self._pieces and not self._complete:
            raise ApiServerError(0, self._error)
        pieces, self._pieces = self._pieces, []
        if self._size > READ_AHEAD_BYTES and not self._transport.is_closing():
            self._transport.resume_reading()
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """No more of it is wanted."""
        self._timer.cancel()
        self._parser = None  # it holds this object in turn
        if self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        left_s = self._heard_at + self._idle_timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._fail(f"silent for {self._idle_timeout_s:g} s")

    def _fail(self, why: str) -> None:
        self._error = self._error or why
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            return
        self._heard_at = self._loop.time()
        before = self._size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(str(error))
        if before <= READ_AHEAD_BYTES < self._size:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc is not None else "the connection ended within a reply")

    # --- llhttp's callbacks

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        self._complete = True


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
            context = ssl.create_default_context(cafile=self._server.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ApiServerError(0, f"CA file {self._server.ca_file}: {error}") from error
        # Python 3.13 wants key identifiers, which the CA that EKS makes for a cluster does not have
        # (https://github.com/kubernetes-client/python/issues/2394). Chain, dates and name are verified as ever.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

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
        request = (
            f"GET {path} HTTP/1.1\r\nhost: {self._authority}\r\naccept: application/json\r\n"
            f"{self._authorization()}connection: close\r\n\r\n"
        )
        reply = _Reply(idle_timeout_s)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                transport, __ = await asyncio.get_running_loop().create_connection(
                    lambda: reply, self._host, self._port, ssl=self._context()
                )
            transport.write(request.encode("ascii"))
            while piece := await reply.take():
                yield piece
        except ApiServerError as error:
            where = f"{self._server.url}{path.partition('?')[0]}" if error.status else self._server.url
            raise ApiServerError(error.status, f"{where}: {error}") from None
        except TimeoutError as error:
            raise ApiServerError(0, f"{self._server.url}: no connection in {CONNECT_TIMEOUT_S:g} s") from error
        except OSError as error:  # also what TLS has to complain about
            raise ApiServerError(0, f"{self._server.url}: {error}") from error
        finally:
            reply.close()

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
        """The lines of a GET as they come, with or without their ends. Raises ApiServerError."""
        rest = b""
        async for piece in self.chunks(path, idle_timeout_s):
            if not rest and piece.find(b"\n") == len(piece) - 1:
                yield piece  # one whole line, as events mostly come
                continue
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if line:
                    yield line
