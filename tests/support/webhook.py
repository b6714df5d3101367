# SPDX-License-Identifier: Apache-2.0
"""An admission webhook: a small HTTPS server, and the configuration by which a real API server asks it.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .cluster_client import kubectl


class Webhook:
    """`answer` gets the AdmissionRequest and gives the AdmissionResponse without its uid. Only one namespace asks it."""

    def __init__(
        self,
        kubeconfig,
        address: str,
        folder,
        namespace: str,
        answer: Callable[[dict], dict],
        *,
        mutating: bool = False,
        side_effects: str = "None",
        timeout_s: int = 2,
        resources: tuple[str, ...] = ("configmaps", "deployments"),
        operations: tuple[str, ...] = ("CREATE", "UPDATE"),
    ) -> None:
        self._resources, self._operations = list(resources), list(operations)
        self.kubeconfig, self.namespace, self.answer = kubeconfig, namespace, answer
        self.kind = "MutatingWebhookConfiguration" if mutating else "ValidatingWebhookConfiguration"
        self.name = f"test-{namespace}"
        self._options = {"sideEffects": side_effects, "timeoutSeconds": timeout_s}
        self._authority = self_signed(folder, address)
        self._server = ThreadingHTTPServer((address, 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._url = f"https://{address}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        kubectl(self.kubeconfig, "apply", "-f", "-", given=self.configuration())
        return self

    def __exit__(self, *__):
        kubectl(self.kubeconfig, "delete", self.kind, self.name)
        self._server.shutdown()
        self._server.server_close()

    def configuration(self):
        rule = {"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": self._operations}
        hook = {
            "name": "policy.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": self._url, "caBundle": base64.b64encode(self._authority).decode()},
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "rules": [{**rule, "resources": self._resources}],
            **self._options,
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": self.kind,
            "metadata": {"name": self.name},
            "webhooks": [hook],
        }

    def _handler(webhook):  # pylint: disable=no-self-argument
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                request = review["request"]
                response = {"uid": request["uid"], **webhook.answer(request)}
                kind = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
                data = json.dumps({**kind, "response": response}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *__):
                return

        return Handler


def allow(request) -> dict:
    return {"allowed": True}


def refuse(message: str):
    return lambda request: {"allowed": False, "status": {"code": 403, "message": message}}


def patch(*operations):
    """A JSON patch in an answer's form."""
    packed = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": packed}


def self_signed(folder, address) -> bytes:
    """A self-signed certificate for an address; its PEM is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "webhook.crt").write_bytes(pem)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "webhook.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return pem
