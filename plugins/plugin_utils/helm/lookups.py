# SPDX-License-Identifier: Apache-2.0
"""A read-only view of the cluster for Helm's `lookup` and capabilities, served on the loopback device while a chart is rendered.

Helm gets no credentials of the cluster: it asks this server, which asks the API through our own client. Each look-up is
recorded. A cached rendering is used again only while the same look-ups give the same answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import secrets
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ...module_utils.errors import LlmOnEksError
from ..kubernetes.client import ApiError, Client

Document = dict[str, Any]
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# Fields that change on their own: never part of an answer's digest.
_NOISE = ("resourceVersion", "managedFields", "generation")


@dataclass
class Lookups:
    """`kubeconfig`: a file for Helm; `seen`: path of each look-up -> digest of its answer."""

    kubeconfig: Path
    seen: dict[str, str] = field(default_factory=dict)


def answer_digest(body: bytes) -> str:
    """Digest of an API answer, without the fields that change on their own."""
    document = msgspec.json.decode(body)
    for item in [document, *(document.get("items") or [])]:
        metadata = item.get("metadata") or {}
        for key in _NOISE:
            metadata.pop(key, None)
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


@dataclass(frozen=True)
class Owned:
    """The release's own objects as (group, kind, namespace, name). Templates that look for Helm's labels must find them on these."""

    release: str = ""
    namespace: str = ""
    keys: frozenset[tuple[str, str, str, str]] = frozenset()

    def marked(self, document: Document) -> Document:
        metadata = document.get("metadata") or {}
        group = str(document.get("apiVersion", "")).rpartition("/")[0]
        key = (group, document.get("kind", ""), metadata.get("namespace", ""), metadata.get("name", ""))
        if key in self.keys:
            annotations = {"meta.helm.sh/release-name": self.release, "meta.helm.sh/release-namespace": self.namespace}
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
            metadata["labels"] = {**(metadata.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
        return document


NOBODYS = Owned()


def still_true(client: Client, seen: Mapping[str, str], owned: Owned = NOBODYS) -> bool:
    """Whether every look-up still gives the recorded answer."""
    return all(answer_digest(_ask(client, path, owned)[1]) == digest for path, digest in seen.items())


@contextlib.contextmanager
def serve(
    client: Client, planned: Sequence[str], folder: Path, *, owned: Owned = NOBODYS, blank: bool = False
) -> Iterator[Lookups]:
    """Serve the view.

    `planned`: apiVersion/kind of the CRDs that this run applies; `blank`: answer as if no object existed, as on a first
    install.
    """
    secret = secrets.token_urlsafe(24)
    lookups = Lookups(folder / "kubeconfig")

    class Handler(_Handler):
        pass

    Handler.view = _View(client, f"/{secret}", planned, owned, blank, lookups)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="lookups", daemon=True)
    thread.start()
    try:
        # The path is the key. It is written only to this file, which only we can read.
        lookups.kubeconfig.touch(mode=0o600)
        lookups.kubeconfig.write_bytes(
            msgspec.json.encode(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "view",
                    "contexts": [{"name": "view", "context": {"cluster": "view", "user": ""}}],
                    "clusters": [
                        {"name": "view", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}/{secret}"}}
                    ],
                }
            )
        )
        yield lookups
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class _View:
    client: Client
    prefix: str
    planned: Sequence[str]
    owned: Owned
    blank: bool
    lookups: Lookups
    previous: str = ""

    def answer(self, path: str, query: str) -> tuple[int, str, bytes]:
        """(status, content type, body) of one GET."""
        previous, self.previous = self.previous, path
        if path == "/version":
            return 200, "application/json", self.client.request("GET", path)
        if path in ("/api", "/apis"):
            return 200, _AGGREGATED, self._discovery(path)
        parts = path.strip("/").split("/")
        group_version = parts[1:2] if parts[0] == "api" else parts[1:3]
        root = f"/{parts[0]}/{'/'.join(group_version)}"
        if path == root and parts[0] in ("api", "apis"):
            return self._group(path, "/".join(group_version))
        if parts[0] not in ("api", "apis") or query:
            return 404, "application/json", not_found()
        if previous != root:
            # Helm's template function asks for the kind right before the object. Any other request is Helm's search for
            # existing objects of the same name, which converge does itself.
            return 404, "application/json", not_found()
        status, body = (404, not_found()) if self.blank else _ask(self.client, path, self.owned)
        self.lookups.seen[path] = answer_digest(body)
        return status, "application/json", body

    def _discovery(self, path: str) -> bytes:
        document = msgspec.json.decode(self.client.request("GET", path, accept=_AGGREGATED))
        if path == "/apis":
            for group, versions in _by_group(self.planned).items():
                served = next((item for item in document["items"] if item["metadata"].get("name") == group), None)
                if served is None:
                    served = {"metadata": {"name": group}, "versions": []}
                    document["items"].append(served)
                for version, kinds in versions.items():
                    entry = next((item for item in served["versions"] if item["version"] == version), None)
                    if entry is None:
                        entry = {"version": version, "resources": [], "freshness": "Current"}
                        served["versions"].append(entry)
                    there = {(item.get("responseKind") or {}).get("kind") for item in entry["resources"]}
                    entry["resources"] += [
                        {
                            "resource": _plural(kind),
                            "responseKind": {"group": group, "version": version, "kind": kind},
                            "scope": "Namespaced",
                            "singularResource": kind.lower(),
                            "verbs": ["get", "list"],
                        }
                        for kind in kinds
                        if kind not in there
                    ]
        return msgspec.json.encode(document)

    def _group(self, path: str, group_version: str) -> tuple[int, str, bytes]:
        group, __, version = group_version.rpartition("/")
        kinds = _by_group(self.planned).get(group, {}).get(version, [])
        try:
            return 200, "application/json", self.client.request("GET", path)
        except ApiError as error:
            if error.status != 404 or not kinds:
                return error.status, "application/json", not_found()
        resources = [
            {
                "name": _plural(kind),
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": ["get", "list"],
            }
            for kind in kinds
        ]
        document = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": resources,
        }
        return 200, "application/json", msgspec.json.encode(document)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    view: _View

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        if not parts.path.startswith(f"{self.view.prefix}/"):
            self._send(403, "text/plain", b"")
            return
        query = "&".join(word for word in parts.query.split("&") if word and not word.startswith("timeout="))
        try:
            self._send(*self.view.answer(parts.path[len(self.view.prefix) :], query))
        except LlmOnEksError as error:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error), "code": 502}
            self._send(502, "application/json", msgspec.json.encode(status))

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: paths contain the key."""


def _ask(client: Client, path: str, owned: Owned) -> tuple[int, bytes]:
    try:
        document = msgspec.json.decode(client.request("GET", path))
    except ApiError as error:
        if error.status != 404:
            raise
        return 404, not_found()
    if isinstance(document.get("items"), list):
        kind = str(document.get("kind", "")).removesuffix("List")
        named = [{"apiVersion": document.get("apiVersion", ""), "kind": kind, **item} for item in document["items"]]
        document["items"] = [owned.marked(item) for item in named]
    return 200, msgspec.json.encode(owned.marked(document))


def not_found() -> bytes:
    """The one answer for what is not there."""
    return msgspec.json.encode(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "message": "not found",
            "code": 404,
        }
    )


def _by_group(planned: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for entry in planned:
        group_version, __, kind = entry.rpartition("/")
        group, __, version = group_version.rpartition("/")
        found.setdefault(group, {}).setdefault(version, []).append(kind)
    return found


def _plural(kind: str) -> str:
    """A guess at the plural, for kinds that no server serves yet: no object of them exists either."""
    lower = kind.lower()
    return lower[:-1] + "ies" if lower.endswith("y") else lower + ("es" if lower.endswith(("s", "x", "ch")) else "s")
