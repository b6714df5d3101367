# SPDX-License-Identifier: Apache-2.0
"""Where a gateway is reached, and how it meets the CA of its cluster."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llm_gateway.config.settings import Settings
from llm_gateway.discovery.api_client import ApiClient, ApiServer, ApiServerError
from llm_gateway.process.worker import bind

HAS_IPV6 = socket.has_dualstack_ipv6()


@pytest.mark.parametrize(
    ("listen", "reached", "refused"),
    [
        (":0", ["127.0.0.1", "::1"], []),
        ("127.0.0.1:0", ["127.0.0.1"], ["::1"]),
        ("[::1]:0", ["::1"], ["127.0.0.1"]),
    ],
)
@pytest.mark.skipif(not HAS_IPV6, reason="this kernel has no IPv6")
def test_an_address_without_a_host_is_both_families(listen: str, reached: list[str], refused: list[str]) -> None:
    with closing(bind(Settings(listen=listen), shared=False)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        for address in reached:
            socket.create_connection((address, port), timeout=5).close()
        for address in refused:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5)


def test_without_ipv6_it_is_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with closing(bind(Settings(listen=":0"), shared=False)) as listener:
        assert listener.family == socket.AF_INET


def test_workers_share_a_port_of_both_families() -> None:
    with closing(bind(Settings(listen=":0"), shared=True)) as first:
        port = first.getsockname()[1]
        with closing(bind(Settings(listen=":0"), shared=True, address=f":{port}")) as second:
            assert second.getsockname()[1] == port


def certificate(
    folder: Path, name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
    """As EKS makes them: a CA with basic constraints only, and a server's certificate; neither has key identifiers."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={name}")
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer[0] if issuer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now,
        now + datetime.timedelta(1),
    ).add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if issuer:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(private)
    return subject, key


@contextmanager
def api_server(folder: Path) -> Iterator[int]:
    """Answers one request with `{}`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, __ = listener.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            except OSError:
                plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssl.create_default_context is as strict as in Python 3.13, whichever this one is."""
    make = ssl.create_default_context

    def create(*arguments: str, **options: str) -> ssl.SSLContext:
        context = make(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


def read(port: int, ca_file: Path) -> bytes:
    async def whole() -> bytes:
        client = ApiClient(ApiServer(f"https://127.0.0.1:{port}", ca_file=str(ca_file)))
        return b"".join([piece async for piece in client.chunks("/api", 10)])

    return asyncio.run(whole())


@pytest.mark.usefixtures("strict")
def test_the_ca_that_eks_makes_is_taken_and_another_is_not(tmp_path: Path) -> None:
    certificate(tmp_path, "server", certificate(tmp_path, "kubernetes"))
    certificate(tmp_path, "stranger")
    with api_server(tmp_path) as port:
        assert json.loads(read(port, tmp_path / "kubernetes.crt")) == {}
    with api_server(tmp_path) as port, pytest.raises(ApiServerError, match="certificate verify failed"):
        read(port, tmp_path / "stranger.crt")
