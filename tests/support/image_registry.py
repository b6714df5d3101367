# SPDX-License-Identifier: Apache-2.0
"""A container registry with one user, as far as a push needs one: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Registry:
    """`tags`: NAME:TAG -> manifest; `refused`: how many requests came without the password."""

    def __init__(self, user: str = "AWS", password: str = "secret-token") -> None:
        self.auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(registry):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def body(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def serve(self):
                content = self.body()
                if self.headers.get("Authorization") != f"Basic {registry.auth}":
                    registry.refused += 1
                    return self.answer(401, WWW_Authenticate='Basic realm="registry"')
                where = urlsplit(self.path)
                name, _, rest = where.path.removeprefix("/v2/").rpartition("/blobs/")
                if where.path == "/v2/":
                    return self.answer(200)
                if rest.startswith("uploads"):
                    return self.upload(name, rest.removeprefix("uploads").strip("/"), content, parse_qs(where.query))
                if name:
                    return self.answer(200 if rest in registry.blobs else 404)
                name, _, tag = where.path.removeprefix("/v2/").rpartition("/manifests/")
                if self.command == "PUT":
                    registry.tags[f"{name}:{tag}"] = content
                    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                    return self.answer(201, Docker_Content_Digest=digest, Location=where.path)
                return self.answer(200 if f"{name}:{tag}" in registry.tags else 404)

            def upload(self, name, key, content, query):
                if self.command == "POST":
                    key = uuid.uuid4().hex
                registry.uploads[key] = registry.uploads.get(key, b"") + content
                place = f"/v2/{name}/blobs/uploads/{key}"
                if self.command != "PUT":
                    end = max(len(registry.uploads[key]) - 1, 0)
                    return self.answer(202, Location=place, Range=f"0-{end}", Docker_Upload_UUID=key)
                [digest] = query["digest"]
                blob = registry.uploads.pop(key)
                if digest != f"sha256:{hashlib.sha256(blob).hexdigest()}":
                    return self.answer(400)
                registry.blobs[digest] = blob
                return self.answer(201, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = serve

        return Handler
