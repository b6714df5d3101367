# SPDX-License-Identifier: Apache-2.0
"""A Galaxy server with a few collections, as far as `ansible-galaxy collection install` asks one (API v3 of ansible-core's galaxy/api.py)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_NEVER = "2026-01-01T00:00:00Z"


def packed(installed: Path, archive: Path) -> Path:
    """The archive of a collection that is installed: its manifest, and what is there of it."""
    names = sorted(str(file.relative_to(installed)) for file in installed.rglob("*") if file.suffix != ".pyc")
    found = [_file(installed, name) for name in names if name not in ("MANIFEST.json", "FILES.json")]
    folder = {"name": ".", "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}
    files = json.dumps({"files": [folder, *found], "format": 1}).encode()
    manifest = json.loads((installed / "MANIFEST.json").read_text())
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(files).hexdigest()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in (("MANIFEST.json", json.dumps(manifest).encode()), ("FILES.json", files)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for one in found:
            tar.add(installed / one["name"], one["name"], recursive=False)
    return archive


def _file(installed: Path, name: str) -> dict[str, Any]:
    path = installed / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    kind = "file" if path.is_file() else "dir"
    return {
        "name": name,
        "ftype": kind,
        "chksum_type": "sha256" if digest else None,
        "chksum_sha256": digest,
        "format": 1,
    }


@contextmanager
def serving(archives: Mapping[str, Path]) -> Iterator[str]:
    """The server's address. `archives`: namespace.name → archive."""
    known = {name: _described(archive) for name, archive in archives.items()}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *__: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/").split("/")
            content = b"" if path[0] != "download" else archives[path[1]].read_bytes()
            found = None if content else _answer(path, known)
            answer = content or json.dumps(found or {"errors": []}).encode()
            self.send_response(200 if content or found else 404)
            self.send_header("Content-Type", "application/octet-stream" if content else "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def _described(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("MANIFEST.json")
        assert manifest
        info = json.load(manifest)["collection_info"]
    version = info["version"]
    at = f"/v3/collections/{info['namespace']}/{info['name']}/versions/{version}/"
    return {
        "version": version,
        "href": at,
        "download_url": f"/download/{info['namespace']}.{info['name']}",
        "namespace": {"name": info["namespace"]},
        "collection": {"name": info["name"]},
        "artifact": {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()},
        "metadata": {"dependencies": info["dependencies"]},
    }


def _answer(path: list[str], known: Mapping[str, dict[str, Any]]) -> Any:
    """None for 404. v3/collections/NAMESPACE/NAME/versions/[VERSION/]."""
    if path in ([""], ["api"]):
        return {"available_versions": {"v3": "v3/"}}
    one = known.get(".".join(path[2:4])) if path[:2] == ["v3", "collections"] else None
    if one and len(path) == 4:
        return {"name": path[3], "created_at": _NEVER, "updated_at": _NEVER, "href": one["href"]}
    if not one or path[4:5] != ["versions"]:
        return None
    if len(path) == 5:
        return {
            "meta": {"count": 1},
            "links": {"next": None},
            "data": [{"version": one["version"], "href": one["href"]}],
        }
    return one if path[5] == one["version"] else None
