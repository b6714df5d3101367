# SPDX-License-Identifier: Apache-2.0
"""A small Kubernetes client: discovery, read, server-side apply, delete, logs, streaming a file into a pod. Thread-safe.

Plain REST over pooled connections: it starts ten times faster than the generated client, and has server-side apply as
we need it.
"""

from __future__ import annotations

import itertools
import random
import re
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import urllib3

from ...module_utils.errors import LlmOnEksError
from ...module_utils.names import FIELD_MANAGER
from ...module_utils.proxies import pool, proxy_for, socks_connection
from . import refusals
from .connection import Connection, ConnectionError

Document = dict[str, Any]
RETRIES = 6
# An API server that has answered before is only away for a moment: a restart, an upgrade, a failover.
PATIENCE_S = 60
# By 429 the API server asks for a pause; 5xx and broken connections are temporary, too.
_PASSING = {429, 500, 502, 503, 504}
_AWAY = {429, 503}
_PAGE = 500
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STDIN_CHUNK = 1 << 20
_PORTS = {"ws": 80, "wss": 443}


class ApiError(LlmOnEksError):
    """The API refused a request. `status`: HTTP status; `reason`: Kubernetes' own word; `details`: its Status.details."""

    def __init__(self, message: str, status: int, reason: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.details = details or {}

    @property
    def namespace_is_terminating(self) -> bool:
        """Whether the request was refused because its namespace is being deleted."""
        causes = self.details.get("causes") or []
        return self.status == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


@dataclass(frozen=True)
class Resource:
    """One kind as the API serves it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def path(self, namespace: str = "", name: str = "") -> str:
        base = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{base}{scope}/{self.plural}" + (f"/{urllib.parse.quote(name)}" if name else "")


class Client:
    """One API server. Every method raises ApiError or ConnectionError with a sentence that names the object."""

    def __init__(self, connection: Connection, *, timeout_s: float = 60) -> None:
        self.connection = connection
        options: dict[str, Any] = {
            "num_pools": 4,
            "maxsize": 32,
            "timeout": urllib3.Timeout(connect=10, read=timeout_s),
            "retries": False,
            "ssl_context": self._ssl_context(),
        }
        if connection.server_name:
            options |= {"assert_hostname": connection.server_name, "server_hostname": connection.server_name}
        self._proxy = connection.proxy or proxy_for(connection.server)
        self._pool: urllib3.PoolManager = pool(self._proxy, **options)
        self._lock = threading.Lock()
        self._resources: dict[tuple[str, str], Resource] | None = None
        self._answered = False

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self.connection.authority.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            raise ConnectionError(
                f"the CA certificates for {self.connection.server} cannot be used ({_plain(error)}); "
                "see certificate-authority in the kubeconfig, or the certificateAuthority of the EKS cluster"
            ) from None
        # Python 3.13 wants key identifiers, which the CA that EKS makes for a cluster does not have; kubectl wants none either.
        # https://github.com/kubernetes-client/python/issues/2394. Chain, dates and name are verified as ever.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.connection.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.connection.certificate:
            self._load_certificate(context)
        return context

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        if b"ENCRYPTED" in self.connection.key:
            raise ConnectionError(
                f"the client key for {self.connection.server} has a password, which kubectl does not take either; "
                "write one without: openssl pkey -in KEY -out NEW_KEY"
            )
        # TLS takes these from files only; this one is ours alone, and is gone at once.
        with tempfile.NamedTemporaryFile(prefix="llm-", suffix=".pem") as file:
            file.write(self.connection.certificate + b"\n" + self.connection.key)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as error:
                raise ConnectionError(
                    f"the client certificate and key for {self.connection.server} cannot be used ({_plain(error)}); "
                    "see client-certificate and client-key in the kubeconfig"
                ) from None

    # --- requests

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        what: str = "",
    ) -> bytes:
        """One request, retried while the failure is temporary. `what` names the object in errors."""
        address = self.connection.server + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        what = what or path
        begun = time.monotonic()
        for attempt in itertools.count():
            last = attempt >= RETRIES - 1
            away = self._answered and time.monotonic() - begun < PATIENCE_S
            try:
                answer = self._pool.request(method, address, body=body, headers=self._headers(content_type, accept))
            except urllib3.exceptions.HTTPError as error:
                # No certificate heals; but where somebody has answered, it is the way there that broke.
                distrusted = isinstance(error, urllib3.exceptions.SSLError) and not self._answered
                if (last and not away) or distrusted:
                    raise ConnectionError(
                        f"{what}: the Kubernetes API {self.connection.server} does not answer{_by_way_of(self._proxy)}: {_plain(error)}"
                    ) from None
                _pause(attempt)
                continue
            if answer.status < 300:
                self._answered = True
                return answer.data
            if answer.status < 400:
                raise self._no_api(f"it redirects to {answer.headers.get('Location', 'another address')}", what)
            if answer.status == 401 and self.connection.token and not last:
                self.connection.token.reject()
                # A new token is tried at once. What was let in before is soon let in again: the API server cannot reach who knows its users.
                if attempt and self._answered:
                    _pause(attempt)
                continue
            waits = not last or (away and answer.status in _AWAY)
            if answer.status in _PASSING and waits and not refusals.is_final(answer.data):
                _pause(attempt, _seconds(answer.headers.get("Retry-After")))
                continue
            raise _api_error(what, answer.status, answer.data)
        raise AssertionError("unreachable")

    def _headers(self, content_type: str, accept: str) -> urllib3.HTTPHeaderDict:
        headers = self._identity()
        headers["Content-Type"] = content_type
        headers["Accept"] = accept
        return headers

    def _identity(self) -> urllib3.HTTPHeaderDict:
        """The user and groups that this client authenticates as, and impersonates: one header for each group."""
        headers = urllib3.HTTPHeaderDict({"User-Agent": FIELD_MANAGER})
        for name, value in self.connection.headers:
            headers.add(name, value)
        if self.connection.token:
            headers["Authorization"] = f"Bearer {self.connection.token.value()}"
        return headers

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        data = self.request(method, path, **options)
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise self._no_api(_excerpt(data), options.get("what", path)) from None

    def _no_api(self, said: str, what: str) -> ConnectionError:
        return ConnectionError(
            f"{what}: {self.connection.server} does not answer as a Kubernetes API does{_by_way_of(self._proxy)}: {said}; "
            "check the address, and whether a proxy or a sign-in page answers in its place"
        )

    # --- discovery

    def resources(self) -> dict[tuple[str, str], Resource]:
        """(apiVersion, kind) -> resource, of everything the server serves; asked once."""
        with self._lock:
            if self._resources is None:
                self._resources = {(found.api_version, found.kind): found for found in self._discover()}
            return self._resources

    def forget_resources(self) -> None:
        """Discover again at the next use: a CustomResourceDefinition was created."""
        with self._lock:
            self._resources = None

    def resource(self, api_version: str, kind: str) -> Resource | None:
        return self.resources().get((api_version, kind))

    def resource_of_kind(self, kind: str) -> Resource | None:
        """The preferred (first served) version of a kind, for references that name no apiVersion."""
        return next((found for (__, name), found in self.resources().items() if name == kind), None)

    def _discover(self) -> Iterator[Resource]:
        for root in ("/api", "/apis"):
            answer = self._json("GET", root, accept=_DISCOVERY, what="discovery")
            if answer.get("kind") in ("APIVersions", "APIGroupList"):
                raise ConnectionError(
                    f"the Kubernetes API {self.connection.server} has no aggregated discovery; Kubernetes 1.27 or newer is needed"
                )
            if not isinstance(answer.get("items"), list):
                raise self._no_api(f"JSON with the fields {', '.join(answer) or 'none'}", "discovery")
            for group in answer["items"]:
                name = group["metadata"].get("name", "")
                for version in group.get("versions", []):
                    api_version = f"{name}/{version['version']}" if name else version["version"]
                    for found in version.get("resources", []):
                        kind = (found.get("responseKind") or {}).get("kind")
                        if kind:
                            verbs = frozenset(found.get("verbs", []))
                            yield Resource(api_version, kind, found["resource"], found["scope"] == "Namespaced", verbs)

    # --- objects

    def get(self, resource: Resource, name: str, namespace: str = "") -> Document | None:
        what = _name(resource.kind, name, namespace)
        try:
            return self._json("GET", resource.path(namespace, name), what=what)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Document]:
        """All objects, page by page; each carries its apiVersion and kind."""
        found: list[Document] = []
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        while True:
            page = self._json("GET", resource.path(namespace), query=query, what=f"list of {resource.plural}")
            found += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            more = page["metadata"].get("continue")
            if not more:
                return found
            query["continue"] = more

    def apply(self, resource: Resource, document: Document, *, dry_run: bool = False, force: bool = False) -> Document:
        """Server-side apply under our field manager. Returns the object as it is on the server, or would be after a dry run."""
        metadata = document["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._json(
            "PATCH",
            resource.path(metadata.get("namespace", ""), metadata["name"]),
            query=query,
            body=msgspec.json.encode(document),
            content_type="application/apply-patch+yaml",
            what=_name(resource.kind, metadata["name"], metadata.get("namespace", "")),
        )

    def create(self, resource: Resource, document: Document, *, dry_run: bool = False) -> Document:
        """Make an object that must not exist yet (409 where it does)."""
        return self._write("POST", resource, document, "", dry_run=dry_run)

    def replace(self, resource: Resource, document: Document) -> Document:
        """Replace an object that still has its resourceVersion (409 where it was changed since)."""
        return self._write("PUT", resource, document, document["metadata"]["name"])

    def _write(
        self, method: str, resource: Resource, document: Document, name: str, *, dry_run: bool = False
    ) -> Document:
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), name)
        what = _name(resource.kind, metadata["name"], metadata.get("namespace", ""))
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All", "fieldValidation": "Strict"} if dry_run else {})}
        return self._json(method, path, query=query, body=msgspec.json.encode(document), what=what)

    def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str = "", policy: str = "Foreground"
    ) -> bool:
        """False when it was gone already. `uid` protects a newer object of the same name."""
        options: Document = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.request(
                "DELETE",
                resource.path(namespace, name),
                body=msgspec.json.encode(options),
                what=_name(resource.kind, name, namespace),
            )
        except ApiError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    # --- pods

    def logs(self, namespace: str, pod: str, container: str, *, lines: int = 10, previous: bool = False) -> str:
        """The last lines of a container's log; empty where there is none."""
        query = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        try:
            path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
            return self.request("GET", path, query=query, accept="*/*", what=f"log of {namespace}/{pod}").decode(
                errors="replace"
            )
        except (ApiError, ConnectionError):
            return ""

    def stream_files(
        self,
        namespace: str,
        pod: str,
        container: str,
        files: Sequence[Path],
        progress: Callable[[int], None] = lambda sent_bytes: None,
    ) -> None:
        """Stream files, one after the other, into a container's standard input, and close it.

        Protocol: https://pkg.go.dev/k8s.io/apimachinery/pkg/util/remotecommand (v5: channel 255 closes a channel).
        """
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        address = urllib.parse.urlsplit(self.connection.server)
        scheme = "wss" if address.scheme == "https" else "ws"
        query = urllib.parse.urlencode({"container": container, "stdin": "true", "stdout": "false", "stderr": "false"})
        url = f"{scheme}://{address.netloc}{address.path}/api/v1/namespaces/{namespace}/pods/{pod}/attach?{query}"
        try:
            with connect(
                url,
                sock=socks_connection(self._proxy, address.hostname or "", address.port or _PORTS[scheme]),
                proxy=None if self._proxy.startswith("socks") else self._proxy or None,
                ssl=self._ssl_context() if scheme == "wss" else None,
                server_hostname=(self.connection.server_name or None) if scheme == "wss" else None,
                additional_headers=list(self._identity().items()),
                subprotocols=cast(Any, ["v5.channel.k8s.io"]),
                compression=None,
                max_size=None,
                open_timeout=30,
            ) as socket:
                sent_bytes = 0
                for file in files:
                    with file.open("rb") as source:
                        while chunk := source.read(_STDIN_CHUNK):
                            socket.send(b"\x00" + chunk)
                            progress(sent_bytes := sent_bytes + len(chunk))
                socket.send(b"\xff\x00")
                for __ in socket:  # until the server closes: the container has read all of it
                    continue
        except (WebSocketException, OSError) as error:
            raise ConnectionError(
                f"pod {namespace}/{pod}: streaming {files[0].name} into it broke off: {_plain(error)}"
            ) from None


def _by_way_of(proxy: str) -> str:
    """Which proxy was used, without its password."""
    if not proxy:
        return ""
    address = urllib.parse.urlsplit(proxy)
    return f" by way of the proxy {address.scheme}://{address.hostname}" + (f":{address.port}" if address.port else "")


def _name(kind: str, name: str, namespace: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _excerpt(data: bytes) -> str:
    """What an answer that is not the API's holds, in a few words."""
    text = " ".join(data.decode(errors="replace").split())
    title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE)
    if text.startswith("<"):
        return f"a web page{f' ({title[1][:80]})' if title else ''}"
    return f"the answer {text[:100]!r}" if text else "an empty answer"


def _seconds(text: str | None) -> float:
    """A Retry-After in seconds; one that is a date counts as none."""
    return float(text) if text and text.isdigit() else 0.0


def _pause(attempt: int, asked_s: float = 0) -> None:
    time.sleep(max(asked_s, min(8.0, 0.2 * 2**attempt)) * random.uniform(0.7, 1.3))  # noqa: S311 - jitter


def _plain(error: BaseException) -> str:
    """The innermost message of a library's nested exception."""
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason:
        error = error.reason
    text = str(error) or type(error).__name__
    return text.rsplit("object at 0x", 1)[-1].split(": ", 1)[-1] if "object at 0x" in text else text


def _api_error(what: str, status: int, data: bytes) -> ApiError:
    try:
        answer = msgspec.json.decode(data)
        message, reason, details = answer["message"], answer.get("reason", ""), answer.get("details") or {}
    except (msgspec.MsgspecError, KeyError, TypeError):
        message, reason, details = f"HTTP {status}, {_excerpt(data)}", "", {}
    message = refusals.plain(message)
    mend = refusals.mend(status, message, details)
    message = f"{message}; {mend}" if mend else message
    return ApiError(f"{what}: {message}", status, reason, details)
