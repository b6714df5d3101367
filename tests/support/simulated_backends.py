# SPDX-License-Identifier: Apache-2.0
"""What stands behind webhooks and aggregated APIs whose pods only look as if they ran: it knows no kinds, and allows everything.

An API server calls these at pods' addresses. Without an answer each object waits for a webhook's timeout, and no namespace goes
while an aggregated API is unavailable.
"""

from __future__ import annotations

import datetime
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# The one whose caller asks who answers: KEDA's API.
NAMES = ("keda-operator-metrics-apiserver.keda.svc",)
# Container ports: metrics-server; KEDA's and prometheus-adapter's APIs.
PORTS = (10250, 6443)


class SimulatedBackends:
    """Context manager: HTTPS servers at `address`, which simulated pods have as theirs. `folder`: for their certificate.

    `authority`: what their callers may trust, PEM.
    """

    def __init__(self, address: str, folder: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file, self.authority = _certificate(folder)
        context.load_cert_chain(file)
        self._servers = [ThreadingHTTPServer((address, port), _Handler) for port in PORTS]
        for server in self._servers:
            server.daemon_threads = True
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self) -> SimulatedBackends:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *__: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if len(parts) == 3 and parts[0] == "apis":
            found = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "/".join(parts[1:]),
                "resources": [],
            }
            return self._answer(200, found)
        return self._answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = {"uid": asked["request"]["uid"], "allowed": True}
        self._answer(200, {"kind": asked["kind"], "apiVersion": asked["apiVersion"], "response": said})

    def _answer(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _certificate(folder: Path) -> tuple[Path, bytes]:
    """(key and certificate in one file, the certificate)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "simulated")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in NAMES]), critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file = folder / "simulated.pem"
    file.write_bytes(private + certificate)
    return file, certificate
