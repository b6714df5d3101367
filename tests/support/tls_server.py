# SPDX-License-Identifier: Apache-2.0
"""A TLS server with one of a cluster's certificates, which answers each request with `{}`."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from contextlib import contextmanager


@contextmanager
def served(folder, name="apiserver", names=None, broken=()):
    """Its port on 127.0.0.1. `names`: a list that receives the server name of each handshake (SNI); `broken`: connections (from 0) that
    end with a TLS alert in their handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    if names is not None:
        context.sni_callback = lambda __, name, ___: names.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        for number in itertools.count():
            try:
                plain, __ = listener.accept()
            except OSError:
                return
            if number in broken:
                plain.recv(4096)
                # Fatal, decode_error: https://datatracker.ietf.org/doc/html/rfc8446#section-6
                plain.sendall(bytes([21, 3, 3, 0, 2, 2, 50]))
                plain.close()
                continue
            try:
                with context.wrap_socket(plain, server_side=True) as wrapped:
                    wrapped.recv(4096)
                    wrapped.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            except OSError:
                plain.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
