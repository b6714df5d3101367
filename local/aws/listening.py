# SPDX-License-Identifier: Apache-2.0
"""The addresses on which the emulator listens: on this machine, or in one of its network namespaces."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .errors import EmulatorError

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Address:
    """`host` without brackets; `port`: 0 takes a free one; `namespace`: file of a network namespace, None for this process's own."""

    host: str
    port: int
    namespace: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """`127.0.0.1:4566`, `[::1]:4566`, `127.0.0.1:4566@/run/netns/NAME`. Raises EmulatorError."""
        where, __, namespace = text.partition("@")
        host, __, port = where.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise EmulatorError(f"aws emulator: --listen {text!r} is not HOST:PORT, for instance 127.0.0.1:4566")
        return cls(host.removeprefix("[").removesuffix("]"), int(port), Path(namespace) if namespace else None)

    def open(self) -> socket.socket:
        """A listening socket. Raises OSError."""
        if self.namespace is None:
            return self._listen()
        # setns(2) moves a single thread. This thread ends here, and the socket stays in the namespace in which it was
        # created.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._listen_inside, self.namespace).result()

    def _listen_inside(self, namespace: Path) -> socket.socket:
        with namespace.open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(namespace))
        return self._listen()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.create_server((self.host, self.port), family=family, backlog=128)
