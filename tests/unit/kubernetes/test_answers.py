# SPDX-License-Identifier: Apache-2.0
"""What answers in place of a Kubernetes API ends in one sentence: a sign-in page, a proxy, an old server, a wrong address.

Seen in: ansible-collections/kubernetes.core#508, ansible-collections/kubernetes.core#78, ansible/awx (tracebacks of the client).
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import client as module
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import (
    Connection,
    ConnectionError,
    connect,
)
from local.kubernetes import pki
from local.kubernetes.config import ClusterConfig
from tests.support.tls_server import served


@contextmanager
def answering(status, body, headers, *, first=()):
    """`first`: the statuses of the first answers."""
    statuses = iter(first)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(next(statuses, status))
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *___):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (200, b"<html><title>Sign in</title></html>", {}, "a web page (Sign in); check the address"),
        (302, b"", {"Location": "/login"}, "it redirects to /login"),
        (200, b"", {}, "an empty answer"),
        (200, b"[]", {}, "the answer '[]'"),
        (200, b'{"hello": 1}', {}, "JSON with the fields hello"),
        (200, b'{"kind": "APIVersions", "versions": ["v1"]}', {}, "Kubernetes 1.27 or newer is needed"),
        (403, b"<html><head><title>Blocked</title></head></html>", {}, "HTTP 403, a web page (Blocked)"),
        (429, b"slow down", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "HTTP 429, the answer 'slow down'"),
    ],
)
def test_an_answer_that_is_not_the_apis_is_one_sentence(status, body, headers, words, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", 1)
    with answering(status, body, headers) as host, pytest.raises(LlmOnEksError) as raised:
        Client(connect(host=host)).resources()
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_who_was_let_in_before_is_asked_again_after_a_while(monkeypatch):
    """A webhook that knows the users and does not answer in time is a 401, too.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
    """
    waited = []
    monkeypatch.setattr(module, "_pause", lambda attempt, *__: waited.append(attempt))
    with answering(200, b"{}", {}, first=(200, 401, 401, 401)) as host:
        client = Client(connect(host=host, api_key="given"))
        client.request("GET", "/version")
        assert client.request("GET", "/version") == b"{}"
    assert waited == [1, 2]


def test_who_was_never_let_in_is_told_at_once(monkeypatch):
    monkeypatch.setattr(module, "_pause", lambda *__: pytest.fail("waited"))
    with answering(401, b"{}", {}) as host, pytest.raises(LlmOnEksError):
        Client(connect(host=host, api_key="given")).request("GET", "/version")


REFUSED = {
    'namespaces "x" not found': (404, "create that namespace"),
    'Internal error occurred: failed calling webhook "a.b": no endpoints': (500, "the webhook a.b does not answer"),
    "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .spec.dta: field not declared in schema": (
        500,
        "it has no field spec.dta; check the spelling",
    ),
    "spec: Forbidden: fixed\n@@ -6,7 @@\n-   storage": (422, "spec: Forbidden: fixed"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_refusal_of_the_api_is_one_line_with_what_helps(message):
    status, words = REFUSED[message]
    body = json.dumps({"kind": "Status", "message": message}).encode()
    text = str(module._api_error("ConfigMap n/a", status, body))
    assert words in text and "\n" not in text and "@@" not in text


@pytest.mark.parametrize(
    "host", ["10.0.0.1:6443", "https://", "https://h:99999", "https://a b:1", "ftp://h", "https://[h"]
)
def test_an_address_that_is_none_is_refused_at_once(host):
    with pytest.raises(ConnectionError, match="is not an address like https://HOST:6443"):
        connect(host=host)


def test_a_pod_that_does_not_know_its_api_says_so(tmp_path, monkeypatch):
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import connection

    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectionError, match="KUBERNETES_SERVICE_HOST"):
        connect()


def test_a_handshake_that_breaks_is_tried_again_once_the_server_has_answered(tmp_path):
    """At first it is told: no certificate heals. Seen with an API server of this machine under load."""
    pki.ensure(ClusterConfig("answers"), tmp_path)
    authority = (tmp_path / "ca.crt").read_bytes()

    def to(port):
        return Client(Connection(f"https://127.0.0.1:{port}", authority, server_name="kubernetes"))

    with served(tmp_path, broken={1}) as port:
        client = to(port)
        assert [client.request("GET", "/") for __ in range(2)] == [b"{}"] * 2
    with served(tmp_path, broken={0}) as port, pytest.raises(ConnectionError, match="decode error"):
        to(port).request("GET", "/")
