# SPDX-License-Identifier: Apache-2.0
"""A TCP forwarder: 127.0.0.1:PORT and [::1]:PORT here to ADDRESS:PORT in the cluster's network. Half-close and back-pressure are kept.

usage: forward.py LISTEN_PORT TARGET_HOST TARGET_PORT
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
from typing import cast

LOOPBACK = ("127.0.0.1", "::1")


class Side(asyncio.Protocol):
    """One side of a connection; what it reads is sent to `other`."""

    def __init__(self) -> None:
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True  # keep our own writing side open

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other = self.other, None
        if other and other.transport:
            other.other = None
            if exc is None:
                other.transport.close()
            else:
                other.transport.abort()


class Client(Side):
    """The accepting side: it reads nothing until the target is connected."""

    def __init__(self, host: str, port: int, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self.target = (host, port)
        self.tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).pause_reading()
        task = asyncio.get_running_loop().create_task(self.connect())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        assert self.transport is not None
        try:
            __, server = await asyncio.get_running_loop().create_connection(Side, *self.target)
        except OSError:
            self.transport.abort()
            return
        if self.transport.is_closing():
            if server.transport:
                server.transport.abort()
            return
        self.other, server.other = server, self
        self.transport.resume_reading()


def listening(address: str, port: int) -> socket.socket | None:
    """None where this machine has no IPv6. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=1024)
    except OSError as error:
        if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise


async def serve(listen_port: int, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    sockets = [listener for address in LOOPBACK if (listener := listening(address, listen_port))]
    servers = [await loop.create_server(lambda: Client(host, port, tasks), sock=listener) for listener in sockets]
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
