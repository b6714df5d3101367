# SPDX-License-Identifier: Apache-2.0
"""An engine that says what a test wrote down for each path, in small pieces."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 13  # a number that cuts events, chunks and characters anywhere


class Scripted:
    """The answers by path; `bytes` are sent as an event stream, everything else as JSON. `asked` are the requests that came."""

    def __init__(self, model: str, answers: dict[str, Any], url: str) -> None:
        self.answers = {"/v1/models": {"object": "list", "data": [{"id": model}]}} | answers
        self.asked: list[tuple[str, Any]] = []
        self.url = url


@contextmanager
def scripted(answers: dict[str, Any], *, model: str = "tiny", kind: str = "") -> Iterator[Scripted]:
    """A running engine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *__: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            form = self.headers["content-type"].startswith("multipart/form-data")
            engine.asked.append((self.path, body if form else json.loads(body)))
            self.answer()

        def answer(self) -> None:
            said = engine.answers.get(self.path)
            status = 404 if said is None else 200
            if isinstance(said, bytes):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for start in range(0, len(said), PIECE):
                    piece = said[start : start + PIECE]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
                return
            body = json.dumps(said if said is not None else {"error": {"message": "no such path"}}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_address[1]}"
    engine = Scripted(model, answers, f"{url}?kind={kind}&model={model}" if kind else url)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
