# SPDX-License-Identifier: Apache-2.0
"""A container registry with one user, as far as a push needs one: https://github.com/opencontainers/distribution-spec."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """`tags`: NAME:TAG or NAME:DIGEST -> manifest; without a password everybody may read and write; `refused`: how many requests came without the password.

    `repositories`: as ECR does, it knows no others, and a tag never moves to another image; None: it makes them by itself.
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
    """

    def __init__(
        self, user: str = "AWS", password: str = "secret-token", repositories: Callable[[], set[str]] | None = None
    ) -> None:
        self.repositories = repositories
        self.open = not password
        self.auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def published(self, repository: str, tag: str, layer: bytes) -> str:
        """An image with one layer; its digest."""
        blobs = {"config": b"{}", "layer": layer}
        described = {name: {"digest": _digest(blob), "size": len(blob)} for name, blob in blobs.items()}
        self.blobs |= {_digest(blob): blob for blob in blobs.values()}
        content = {"schemaVersion": 2, "config": described["config"], "layers": [described["layer"]]}
        manifest = json.dumps(content).encode()
        for name in (tag, _digest(manifest)):
            self.tags[f"{repository}:{name}"] = manifest
        return _digest(manifest)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(registry):  # pylint: disable=no-self-argument
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *__):
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
                if not registry.open and self.headers.get("Authorization") != f"Basic {registry.auth}":
                    registry.refused += 1
                    return self.answer(401, WWW_Authenticate='Basic realm="registry"')
                where = urlsplit(self.path)
                repository = re.split(r"/(?:blobs|manifests)/", where.path.removeprefix("/v2/"))[0]
                if registry.repositories and repository and repository not in registry.repositories():
                    error = {
                        "code": "NAME_UNKNOWN",
                        "message": f"The repository with name '{repository}' does not exist",
                    }
                    return self.answer(404, json.dumps({"errors": [error]}).encode())
                name, __, rest = where.path.removeprefix("/v2/").rpartition("/blobs/")
                if where.path == "/v2/":
                    return self.answer(200)
                if rest.startswith("uploads"):
                    return self.upload(name, rest.removeprefix("uploads").strip("/"), content, parse_qs(where.query))
                if name:
                    return self.content(registry.blobs.get(rest))
                name, __, tag = where.path.removeprefix("/v2/").rpartition("/manifests/")
                if self.command == "PUT":
                    digest = _digest(content)
                    if registry.repositories and registry.tags.get(f"{name}:{tag}", content) != content:
                        error = {
                            "code": "TAG_INVALID",
                            "message": f"The image tag '{tag}' already exists and is immutable",
                        }
                        return self.answer(400, json.dumps({"errors": [error]}).encode())
                    registry.tags[f"{name}:{tag}"] = registry.tags[f"{name}:{digest}"] = content
                    return self.answer(201, Docker_Content_Digest=digest, Location=where.path)
                return self.content(registry.tags.get(f"{name}:{tag}"), Content_Type=MANIFEST)

            def content(self, found, **headers):
                if found is None:
                    return self.answer(404)
                return self.answer(200, b"" if self.command == "HEAD" else found, **headers)

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
