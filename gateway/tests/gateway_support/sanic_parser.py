# SPDX-License-Identifier: Apache-2.0
"""A request's head as Sanic's own parser reads it, without a connection."""

from __future__ import annotations

from typing import Any

from sanic import Sanic
from sanic.http.http1 import Http
from sanic.request import Request

_APP: Sanic[Any, Any] = Sanic("parser", configure_logging=False)


class _Protocol:
    """As much of Sanic's connection as its parser looks at."""

    def __init__(self) -> None:
        self.app = _APP
        self.request_class = Request
        self.transport = None
        self.loop = None
        self.url_bytes = b""
        self.state = {"requests_count": 0}


def sanic_reads(head: bytes) -> Any:
    """(method, target, headers, body length or "chunked") as Sanic's own parser has it. Raises SanicException."""

    async def no_signal(*__: Any, **___: Any) -> None:
        return None

    http = object.__new__(Http)
    http.protocol = _Protocol()
    http.recv_buffer = bytearray(head)
    http.dispatch = no_signal
    http.request_body = None
    http.expecting_continue = False
    http.keep_alive = True
    http.head_only = None
    http.request_max_size = 1 << 30
    http.request_bytes = http.request_bytes_left = 0
    http.response = None
    # All of the head is there, so it has nothing to wait for.
    reading = http.http1_request_header()
    try:
        reading.send(None)
    except StopIteration:
        pass
    else:
        raise AssertionError(f"Sanic waits for more of {head!r}")
    request = http.request
    length = "chunked" if http.request_body == "chunked" else http.request_bytes if http.request_body else -1
    return request.method, http.url, list(request.headers.items()), length
