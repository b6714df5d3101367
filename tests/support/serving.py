# SPDX-License-Identifier: Apache-2.0
"""Servers of tests, and clients that keep one busy."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on a free port of 127.0.0.1; its URL."""
    with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url:
        yield url


@contextmanager
def running(server: HTTPServer) -> Iterator[str]:
    """A server of 127.0.0.1 that somebody made; its URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def asking(ask: Callable[[], object], clients: int, pause: float = 0, timeout: float = 130) -> Iterator[None]:
    """So many clients, each of which asks again and again, `pause` seconds apart, whatever becomes of it. `timeout`: of their end."""
    stop = threading.Event()

    def client() -> None:
        while not stop.wait(pause):
            with suppress(OSError, http.client.HTTPException):
                ask()

    threads = [threading.Thread(target=client, daemon=True) for __ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout)
