# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy in front of a real API server that fails as it is told: status codes, lost connections, slow answers.

Clients speak plain HTTP to it on loopback and need no credentials; it forwards with those of a kubeconfig.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect


@dataclass(frozen=True)
class Request:
    """One request; `number` counts from 0, over all."""

    number: int
    method: str
    path: str
    token: str = ""

    @property
    def writes(self) -> bool:
        return self.method in ("PATCH", "POST", "PUT", "DELETE") and "dryRun" not in self.path


@dataclass(frozen=True)
class Status:
    """An answer of the API server's own form, without asking it."""

    code: int
    retry_after: str = ""


@dataclass(frozen=True)
class Drop:
    """The connection ends without an answer: before the request was carried out, or after."""

    carried_out: bool = False


@dataclass(frozen=True)
class Slow:
    """The answer takes so long."""

    seconds: float


@dataclass(frozen=True)
class After:
    """Something happens between the server's answer and its delivery; it may change the body."""

    do: Callable[[bytes], bytes]


Fault = Status | Drop | Slow | After | None


class FaultyProxy:
    """`fault` decides for each request; None passes it on."""

    def __init__(self, kubeconfig, fault: Callable[[Request], Fault] = lambda request: None) -> None:
        self.fault = fault
        self.requests: list[Request] = []
        self.faults = 0
        self._lock = threading.Lock()
        # Its pool knows credentials and CA; requests go past its retries.
        self._upstream = Client(connect(kubeconfig=str(kubeconfig)))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *__):
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def client(self) -> Client:
        return Client(connect(host=self.address))

    def _note(self, method, path, token) -> tuple[Request, Fault]:
        with self._lock:
            request = Request(len(self.requests), method, path, token)
            self.requests.append(request)
            fault = self.fault(request)
            self.faults += fault is not None
            return request, fault

    def _handler(proxy):  # pylint: disable=no-self-argument
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                __, fault = proxy._note(self.command, self.path, token)
                if isinstance(fault, Status):
                    return self.answer(fault.code, _status(fault.code), {"Retry-After": fault.retry_after})
                if fault == Drop():
                    return self.drop()
                if isinstance(fault, Slow):
                    time.sleep(fault.seconds)
                code, data = self.forward(body)
                if isinstance(fault, Drop):
                    return self.drop()
                return self.answer(code, fault.do(data) if isinstance(fault, After) else data, {})

            def forward(self, body):
                headers = {k: v for k, v in self.headers.items() if k in ("Content-Type", "Accept", "User-Agent")}
                address = proxy._upstream.connection.server + self.path
                try:
                    answer = proxy._upstream._pool.request(self.command, address, body=body or None, headers=headers)
                except urllib3.exceptions.HTTPError:
                    return 503, _status(503)
                return answer.status, answer.data

            def answer(self, code, data, headers):
                self.send_response(code)
                for name, value in {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(data)),
                    **headers,
                }.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def drop(self):
                self.close_connection = True

            def log_message(self, *__):
                return

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        return Handler


def _status(code: int) -> bytes:
    message = {401: "Unauthorized", 429: "too many requests", 500: "an injected fault", 503: "unavailable"}[code]
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": code}).encode()
