# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for Text Generation Inference: its OpenAI routes and its metrics' names before a real llama.cpp.

TGI cannot be had as a package. The tokens are real; that TGI itself behaves so is not shown by this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def tgi_before(url: str) -> Iterator[str]:
    """The address of a stand-in that hands on to the engine at `url`."""
    behind = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            connection = HTTPConnection(behind.hostname, behind.port, timeout=60)
            try:
                connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                # TGI's own code for what it cannot read.
                self.send_response(422 if answer.status == 400 else answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type", ""))
                self.end_headers()
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
            except OSError:
                pass
            finally:
                connection.close()

        def do_GET(self):
            bodies = {
                "/metrics": b"tgi_queue_size 0\ntgi_request_count 1\n",
                "/v1/models": b'{"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "tgi"}]}',
                "/info": b'{"model_id": "tiny", "max_total_tokens": 2048}',
            }
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if self.path == "/metrics" else "application/json")
            self.end_headers()
            self.wfile.write(bodies.get(self.path, b""))

        def log_message(self, *__):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *__: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
