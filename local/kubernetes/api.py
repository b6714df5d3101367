# SPDX-License-Identifier: Apache-2.0
"""A client of the cluster's own Kubernetes API, in process: a call of kubectl costs a hundred times as much."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from .config import ClusterConfig
from .errors import LocalClusterError

FIELD_MANAGER = "local-cluster"
_TIMEOUT_S = 10
_APPLY = "application/apply-patch+yaml"
_RESOURCES = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "CustomResourceDefinition": "customresourcedefinitions",
    "EndpointSlice": "endpointslices",
    "PersistentVolume": "persistentvolumes",
    "Service": "services",
    "StorageClass": "storageclasses",
}


class ExistsError(LocalClusterError):
    """An object of that name is there."""


class Api:
    """As administrator. Every method raises LocalClusterError."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._connection: http.client.HTTPSConnection | None = None
        self._lock = threading.Lock()

    def ready(self) -> bool:
        try:
            return self._ask("GET", "/readyz") == b"ok"
        except LocalClusterError:
            return False

    def node_ready(self, name: str) -> bool:
        try:
            node = self.get(f"/api/v1/nodes/{name}") or {}
        except LocalClusterError:
            return False
        conditions = node.get("status", {}).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def get(self, path: str) -> dict[str, Any] | None:
        """None where there is no such object."""
        data = self._ask("GET", path, missing=True)
        return json.loads(data) if data else None

    def delete(self, path: str, *, at_once: bool = False) -> None:
        body = b'{"gracePeriodSeconds": 0}' if at_once else None
        self._ask("DELETE", path, body, kind="application/json", missing=True)

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list; none where there is no such list."""
        return (self.get(path) or {}).get("items") or []

    def create(self, path: str, document: dict[str, Any]) -> bool:
        """False where it exists already."""
        try:
            self._ask("POST", path, json.dumps(document).encode(), kind="application/json")
        except ExistsError:
            return False
        return True

    def merge(self, path: str, document: dict[str, Any], *, strategic: bool = False) -> None:
        """Write these members of an object; nothing where it is gone."""
        kind = "application/strategic-merge-patch+json" if strategic else "application/merge-patch+json"
        self._ask("PATCH", path, json.dumps(document).encode(), kind=kind, missing=True)

    def apply(self, document: dict[str, Any]) -> bool:
        """By server-side apply; True when that changed anything."""
        path = path_of(document)
        before = self.get(path)
        query = f"?fieldManager={FIELD_MANAGER}"
        after = json.loads(self._ask("PATCH", path + query, json.dumps(document).encode()))
        return before is None or before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]

    def _ask(
        self, method: str, path: str, body: bytes | None = None, *, kind: str = _APPLY, missing: bool = False
    ) -> bytes:
        """The body of the answer; empty for a 404 where that is allowed. `kind`: media type of the body."""
        headers = {"Content-Type": kind} if body else {}
        with self._lock:
            try:
                connection = self._connection = self._connection or self._connect()
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                raise LocalClusterError(
                    f"local cluster: the Kubernetes API {self._config.api_url} does not answer: {error or type(error).__name__}"
                ) from None
        if answer.status == 404 and missing:
            return b""
        if answer.status == 409 and method == "POST":
            raise ExistsError(f"local cluster: {path} exists already")
        if answer.status >= 400:
            raise LocalClusterError(f"local cluster: {method} {path} failed: {data.decode(errors='replace')[:300]}")
        return data

    def _connect(self) -> http.client.HTTPSConnection:
        pki = self._config.state / "pki"
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the CA may be like EKS's (pki.py)
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        address = urlsplit(self._config.api_url)
        return http.client.HTTPSConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S, context=context)


def path_of(document: dict[str, Any]) -> str:
    """Where an object lies in the API."""
    version, metadata = document["apiVersion"], document["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{scope}/{_RESOURCES[document['kind']]}/{metadata['name']}"
