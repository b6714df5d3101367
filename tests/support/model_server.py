# SPDX-License-Identifier: Apache-2.0
"""A web server with model files that answers as the Hugging Face Hub does, and that can be told to misbehave.

The Hub's answers are after https://huggingface.co/docs/hub/api and those that huggingface_hub accepts; large files are redirected to
an address of their own, signed and short-lived, on another host name.
"""

from __future__ import annotations

import gzip
import hashlib
import ipaddress
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"
LARGE_BYTES = 1000  # from this size on a file is one of git-lfs


@dataclass
class Fault:
    """What happens to one answer. `cut_at`: bytes of the body after which the connection ends; `flip`: which bit of the body is turned.

    `stall_at`: bytes after which nothing comes any more while the connection stays open. `encoding`: the body is compressed.
    """

    status: int = 0
    retry_after: str = ""
    rate_limit: str = ""
    cut_at: int | None = None
    flip: int | None = None
    length: int | None = None
    total: int | None = None
    ignore_range: bool = False
    wrong_range: bool = False
    location: str = ""
    pause_s: float = 0.0
    forget_length: bool = False
    stall_at: int | None = None
    encoding: str = ""


@dataclass
class Asked:
    method: str
    path: str
    range: str
    authorization: str
    host: str
    sent_bytes: int = 0


@dataclass
class ModelServer:
    """`files`: path -> content of the repository ORG/NAME. `fault(asked)`: what happens to an answer; None: nothing."""

    files: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[Asked], Fault | None] = lambda asked: None
    # As the Hub: everybody may list the files of a gated repository, and only who has accepted its terms may read them
    # (https://github.com/huggingface/huggingface.js/issues/945). Of a private one others see nothing.
    gated: bool = False
    private: bool = False
    # As some mirrors do.
    repeats_tokens: bool = False
    page_size: int = 1000
    # Listings say so many bytes more than a file has.
    announced_more: int = 0
    bytes_per_s: float = 0.0
    # Where it listens; pods reach the address of their node.
    host: str = "127.0.0.1"
    signatures: set[str] = field(default_factory=set)
    issued: int = 0
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> ModelServer:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server._answer(self)

            do_HEAD = do_GET

            def log_message(self, *__):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *__):
                pass  # clients go away on purpose

        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = Server((self.host, 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *__):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def other_name(self) -> str:
        """Another host, as far as clients know: "localhost", or the address as one number."""
        return "localhost" if self.host == "127.0.0.1" else str(int(ipaddress.ip_address(self.host)))

    @property
    def sent_bytes(self) -> int:
        """Of files, not of listings."""
        return sum(one.sent_bytes for one in self.asked if one.path.startswith(("/files/", "/cdn/", "/ORG/")))

    def _answer(self, handler) -> None:
        parts = urllib.parse.urlsplit(handler.path)
        path = urllib.parse.unquote(parts.path)
        headers = handler.headers
        asked = Asked(
            handler.command, path, headers.get("Range", ""), headers.get("Authorization", ""), headers.get("Host", "")
        )
        with self._lock:
            self.asked.append(asked)
            fault = self.fault(asked) or Fault()
        time.sleep(fault.pause_s)
        if fault.status or fault.location:
            retry = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            retry |= {"RateLimit": fault.rate_limit} if fault.rate_limit else {}
            to = {"Location": fault.location} if fault.location else {}
            self._send(handler, asked, fault.status or 302, b"{}", {**retry, **to})
        elif path.startswith("/files/"):
            self._file(handler, asked, fault, path.removeprefix("/files/"))
        elif path.startswith("/cdn/"):
            self._signed(handler, asked, fault, parts)
        else:
            self._hub(handler, asked, fault, path, urllib.parse.parse_qs(parts.query))

    # --- the Hub

    def _hub(self, handler, asked, fault, path, query) -> None:
        api = "/api/models/ORG/NAME"
        stranger = asked.authorization != f"Bearer {TOKEN}" and "ORG/NAME" in path
        if stranger and self.private:
            self._refuse(handler, asked, "RepoNotFound", "Repository not found")
        elif stranger and self.gated and path.startswith("/ORG/NAME/resolve/"):
            self._refuse(handler, asked, "GatedRepo", "Access to model ORG/NAME is restricted.")
        elif path == f"{api}/revision/main" or path in (f"{api}/revision/{COMMIT}", api):
            siblings = [{"rfilename": name} for name in sorted(self.files)]
            info = {"_id": "1", "id": "ORG/NAME", "modelId": "ORG/NAME", "sha": COMMIT, "siblings": siblings}
            self._json(handler, asked, {**info, "private": False, "tags": [], "downloads": 0, "likes": 0})
        elif path == f"{api}/tree/{COMMIT}":
            self._tree(handler, asked, path, query)
        elif path.startswith(f"/ORG/NAME/resolve/{COMMIT}/"):
            self._resolve(handler, asked, fault, path.removeprefix(f"/ORG/NAME/resolve/{COMMIT}/"))
        else:
            self._send(handler, asked, 404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _refuse(self, handler, asked, code, message) -> None:
        repeated = f" Authorization was {asked.authorization}" if self.repeats_tokens else ""
        headers = {"X-Error-Code": code, "X-Error-Message": message + repeated}
        self._send(handler, asked, 401, json.dumps({"error": message}).encode(), headers)

    def _tree(self, handler, asked, path, query) -> None:
        start = int(query.get("cursor", ["0"])[0])
        names = sorted(self.files)[start : start + self.page_size]
        page = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "sub"}] if start == 0 else []
        page += [self._entry(name) for name in names]
        headers = {}
        if start + self.page_size < len(self.files):
            following = f"{self.url}{path}?recursive=true&cursor={start + self.page_size}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json(handler, asked, page, headers)

    def _entry(self, name) -> dict:
        data = self.files[name]
        size = len(data) + self.announced_more
        entry = {"type": "file", "path": name, "size": size, "oid": git_sha1(data)}
        if len(data) >= LARGE_BYTES:
            digest = hashlib.sha256(data).hexdigest()
            # xetHash is another hash than sha256, of the same length.
            entry |= {"lfs": {"oid": digest, "size": size, "pointerSize": 134}, "xetHash": "f" * 64}
        return entry

    def _resolve(self, handler, asked, fault, name) -> None:
        if name not in self.files:
            self._send(handler, asked, 404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
            return
        data = self.files[name]
        if len(data) < LARGE_BYTES:
            headers = {"ETag": f'"{git_sha1(data)}"', "X-Repo-Commit": COMMIT}
            self._body(handler, asked, fault, data, headers)
            return
        with self._lock:
            signature = f"s{self.issued}"
            self.issued += 1
            self.signatures.add(signature)
        digest = hashlib.sha256(data).hexdigest()
        where = f"http://{self.other_name}:{self.port}/cdn/{urllib.parse.quote(name)}?signature={signature}"
        headers = {
            "Location": where,
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": COMMIT,
        }
        self._send(handler, asked, 302, b"", {**headers, "ETag": f'"{digest}"'})

    def _signed(self, handler, asked, fault, parts) -> None:
        signature = urllib.parse.parse_qs(parts.query).get("signature", [""])[0]
        if signature not in self.signatures:
            self._send(handler, asked, 403, b"<Error>Request has expired</Error>")
            return
        name = urllib.parse.unquote(parts.path).removeprefix("/cdn/")
        self._body(
            handler, asked, fault, self.files[name], {"ETag": f'"{hashlib.sha256(self.files[name]).hexdigest()}"'}
        )

    # --- files

    def _file(self, handler, asked, fault, name) -> None:
        if name in self.files:
            self._body(handler, asked, fault, self.files[name])
        else:
            self._send(handler, asked, 404, b"no such file")

    def _body(self, handler, asked, fault, data, headers=None) -> None:
        begin, end, status, more = 0, len(data), 200, {"Accept-Ranges": "bytes", **(headers or {})}
        if asked.range and not fault.ignore_range:
            first, __, last = asked.range.removeprefix("bytes=").partition("-")
            begin, end, status = int(first), min(int(last) + 1 if last else len(data), len(data)), 206
            total = fault.total if fault.total is not None else len(data)
            shown = begin + 1 if fault.wrong_range else begin
            more["Content-Range"] = f"bytes {shown}-{end - 1}/{total}"
        body = memoryview(data)[begin:end]
        if fault.flip is not None and begin <= fault.flip // 8 < end:
            turned = bytearray(body)
            turned[fault.flip // 8 - begin] ^= 1 << fault.flip % 8
            body = memoryview(turned)
        if fault.encoding:  # as a cache on the way does, which compresses what it takes for text
            more |= {"Content-Encoding": fault.encoding}
            status, body = 200, memoryview(gzip.compress(data))
        self._send(handler, asked, status, body, more, fault)

    def _json(self, handler, asked, content, headers=None) -> None:
        body = json.dumps(content).encode()
        self._send(handler, asked, 200, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, handler, asked, status, body, headers=None, fault=None) -> None:
        fault = fault or Fault()
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if not fault.forget_length:
            handler.send_header("Content-Length", str(fault.length if fault.length is not None else len(body)))
        handler.end_headers()
        if asked.method == "HEAD":
            return
        ends = [one for one in (fault.cut_at, fault.stall_at) if one is not None]
        end = min([len(body), *ends])
        step = 256 << 10 if not self.bytes_per_s else 16 << 10
        for at in range(0, end, step):
            piece = body[at : min(at + step, end)]
            handler.wfile.write(piece)
            asked.sent_bytes += len(piece)
            if self.bytes_per_s:
                time.sleep(len(piece) / self.bytes_per_s)
        if fault.stall_at is not None:
            self._closing.wait(30)
        if end < len(body) or fault.length is not None or fault.forget_length:
            handler.close_connection = True


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
