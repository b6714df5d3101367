# SPDX-License-Identifier: Apache-2.0
"""Proxies that lead every name to one address, by default of this machine, as if they alone could reach it: HTTP CONNECT, and SOCKS5."""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import contextmanager


class Proxy:
    """`seen`: what was asked for, as `host:port`; `credentials`: what came as user and password."""

    def __init__(self, kind, port, host):
        self.kind, self.target = kind, (host, port)
        self.seen, self.credentials = [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"{self.kind}://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self):
        while True:
            try:
                client, __ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client):
        try:
            (self._connect if self.kind == "http" else self._socks5)(client)
            with socket.create_connection(self.target) as server:
                _copy(client, server)
        except OSError:
            pass
        finally:
            client.close()

    def _connect(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        lines = head.decode().split("\r\n")
        self.seen.append(lines[0].split()[1])
        self.credentials += [
            line.partition(": ")[2] for line in lines if line.lower().startswith("proxy-authorization")
        ]
        client.sendall(b"HTTP/1.1 200 go on\r\n\r\n")

    def _socks5(self, client):
        """RFC 1928, and RFC 1929 where the client offers a password."""
        __, count = client.recv(2)
        if 2 in client.recv(count):
            client.sendall(b"\x05\x02")
            client.recv(1)
            user = client.recv(client.recv(1)[0]).decode()
            self.credentials.append(f"{user}:{client.recv(client.recv(1)[0]).decode()}")
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
        (port,) = struct.unpack(">H", client.recv(2))
        self.seen.append(f"{host}:{port}")
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))


def _copy(one, other):
    while True:
        for ready in select.select([one, other], [], [], 30)[0] or [None]:
            data = ready.recv(65536) if ready else b""
            if not data:
                return
            (other if ready is one else one).sendall(data)


@contextmanager
def proxy(kind, port, host="127.0.0.1"):
    """`kind`: http, socks5 or socks5h."""
    made = Proxy(kind, port, host)
    try:
        yield made
    finally:
        made.listener.close()
