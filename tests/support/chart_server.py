# SPDX-License-Identifier: Apache-2.0
"""A chart repository and an OCI registry on the loopback device, and chart archives to put into them."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping

_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def archive(name="web", version="1.0.0", templates: Mapping[str, str] = {}, **files: str) -> bytes:  # pylint: disable=dangerous-default-value
    """A small chart as an archive, the same bytes each time."""
    contents = {"Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\n", **files}
    contents |= {f"templates/{file}": text for file, text in templates.items()}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for file, text in sorted(contents.items()):
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue(), mtime=0)


class ChartServer:
    """`pages`: path -> (status, headers, body) or a list of such, taken in turn; `asked`: (path, Authorization) of each GET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, object] = {}
        self.asked: list[tuple[str, str]] = []
        self.credentials = ""

    def repository(self, *charts: bytes, name="web", relative=True, padding=0) -> str:
        """Serve an index and its archives; `padding` makes the index long."""
        entries = []
        for number, content in enumerate(charts):
            version = f"1.0.{number}"
            path = f"charts/{name}-{version}.tgz"
            digest = hashlib.sha256(content).hexdigest()
            urls = [path if relative else f"{self.address}/{path}"]
            entries.append({"name": name, "version": version, "digest": digest, "urls": urls})
            self.pages[f"/{path}"] = (200, {}, content)
        lines = ["apiVersion: v1", "entries:"]
        lines += [f"  other{number}:\n  - name: other{number}\n    version: 1.0.0" for number in range(padding)]
        lines.append(f"  {name}:")
        for entry in entries:
            lines += [f"  - name: {name}", f"    version: {entry['version']}", f"    digest: {entry['digest']}"]
            lines += [
                "    description: |-",
                "      A text",
                "",
                "      with an empty line",
                "    urls:",
                f"    - {entry['urls'][0]}",
            ]
        lines.append("generated: '2026-01-01T00:00:00Z'")
        self.pages["/index.yaml"] = (200, {}, "\n".join(lines).encode())
        return self.address

    def registry(self, content: bytes, *, path="team/web", tag="1.0.0", auth="") -> str:
        """Serve one chart; `auth`: none, `basic` or `bearer`."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        manifest = {"schemaVersion": 2, "layers": [{"mediaType": _CONTENT, "digest": digest, "size": len(content)}]}
        found = {f"/v2/{path}/manifests/{tag}": json.dumps(manifest).encode(), f"/v2/{path}/blobs/{digest}": content}
        for address, body in found.items():
            self.pages[address] = (200, {}, body)
        self.credentials = auth
        if auth:
            self.pages["/token"] = (200, {}, b'{"token": "given"}')
        return f"oci://{self.address.removeprefix('http://')}/{path}"

    def answer(self, path: str, authorization: str) -> tuple[int, Mapping[str, str], bytes]:
        self.asked.append((path, authorization))
        plain = path.partition("?")[0]
        if plain.startswith("/v2/") and self.credentials == "bearer" and authorization != "Bearer given":
            challenge = f'Bearer realm="{self.address}/token",service="here",scope="pull"'
            return 401, {"WWW-Authenticate": challenge}, b""
        known = "Basic " + base64.b64encode(b"user:canary-password").decode()
        if plain.startswith("/v2/") and self.credentials == "basic" and authorization != known:
            return 401, {"WWW-Authenticate": 'Basic realm="here"'}, b""
        if plain == "/token" and authorization not in ("", known):
            return 401, {}, b""
        page = self.pages.get(plain, (404, {}, b""))
        if isinstance(page, list):
            page = page.pop(0) if len(page) > 1 else page[0]
        return page


@contextlib.contextmanager
def chart_server() -> Iterator[ChartServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = served.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = ChartServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
