# SPDX-License-Identifier: Apache-2.0
"""DOUBLE of EKS's Pod Identity agent: it gives credentials for a service account's token, and refuses others as the agent does.

Answers and errors are those of https://github.com/aws/eks-pod-identity-agent (pkg/handlers, pkg/errors, pkg/credentials): the token is the
whole Authorization header, times have nanoseconds, and what EKS Auth refuses is plain text with its code.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_DENIED = "[1f]: (AccessDeniedException): Access Denied, fault: client"


class PodIdentityAgent:
    """`credentials`: token -> AccessKeyId, SecretAccessKey, Token, AccountId. `accepts` decides where tokens are not known before."""

    def __init__(self, host: str, credentials: Mapping[str, dict[str, str]], accepts=None) -> None:
        self.asked: list[str] = []
        self._known, self._accepts = credentials, accepts or (lambda _token: None)
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                agent._answer(self)

            def log_message(self, *__):
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}/v1/credentials"

    def __enter__(self) -> PodIdentityAgent:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *__: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler) -> None:
        token = handler.headers.get("Authorization", "")
        self.asked.append(token)
        if not token:
            self._send(handler, 400, b"Service account token cannot be empty")
            return
        found = self._known.get(token) or self._accepts(token)
        if not found:
            self._send(handler, 403, _DENIED.encode())
            return
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
        self._send(handler, 200, json.dumps({**found, "Expiration": f"{ends:%Y-%m-%dT%H:%M:%S}.123456789Z"}).encode())

    def _send(self, handler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
