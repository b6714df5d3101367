# SPDX-License-Identifier: Apache-2.0
"""A cluster's certificates, met by TLS as it is: strict where Python 3.13 is, and by our client as kubectl is."""

from __future__ import annotations

import datetime
import socket
import ssl

import pytest
from cryptography import x509

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import Connection, ConnectionError
from local.kubernetes import pki
from local.kubernetes.config import AwsConfig, ClusterConfig
from tests.support.tls_server import served


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two sets of certificates: of a cluster by itself, and of one that stands for EKS."""
    folders = {}
    for kind, aws in (("own", None), ("eks", AwsConfig())):
        folders[kind] = tmp_path_factory.mktemp(kind)
        pki.ensure(ClusterConfig("pki-test", aws=aws), folders[kind])
    return folders


@pytest.fixture
def strict(monkeypatch):
    """What ssl.create_default_context makes is as strict as in Python 3.13, whichever this one is."""
    make = ssl.create_default_context

    def create(*arguments, **options):
        context = make(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


def handshake(port, authority, name="127.0.0.1"):
    context = ssl.create_default_context(cadata=authority.read_text())
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname=name):
        pass


def get(port, authority, **options):
    return Client(Connection(f"https://127.0.0.1:{port}", authority=authority.read_bytes(), **options)).request(
        "GET", "/"
    )


def extensions(file):
    return {extension.oid._name for extension in x509.load_pem_x509_certificate(file.read_bytes()).extensions}


def test_own_certificates_satisfy_strict_verification(made, strict):
    with served(made["own"]) as port:
        handshake(port, made["own"] / "ca.crt")


def test_the_ca_that_stands_for_eks_is_refused_by_strict_verification_as_the_real_one_is(made, strict):
    with served(made["eks"]) as port, pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key"):
        handshake(port, made["eks"] / "ca.crt")


def test_the_ca_that_stands_for_eks_has_basic_constraints_and_nothing_else(made):
    assert extensions(made["eks"] / "ca.crt") == {"basicConstraints"}


@pytest.mark.parametrize("kind", ["own", "eks"])
def test_our_client_takes_either_however_strict_its_python_is(made, strict, kind):
    with served(made[kind]) as port:
        assert get(port, made[kind] / "ca.crt") == b"{}"


def test_our_client_still_refuses_another_authority(made, strict):
    with served(made["eks"]) as port, pytest.raises(ConnectionError, match="certificate verify failed"):
        get(port, made["own"] / "ca.crt")


def test_our_client_still_refuses_another_name(made, strict):
    with served(made["eks"]) as port, pytest.raises(ConnectionError, match=r"other\.invalid"):
        get(port, made["eks"] / "ca.crt", server_name="other.invalid")


def test_our_client_still_refuses_a_certificate_that_has_ended(tmp_path, strict, monkeypatch):
    past = datetime.datetime.now(datetime.UTC) - pki.LIFETIME - datetime.timedelta(days=1)
    config = ClusterConfig("pki-test", aws=AwsConfig())
    pki.ensure(config, tmp_path)
    monkeypatch.setattr(pki, "_now", lambda: past)
    pki._make_certificate(tmp_path, next(one for one in pki.identities(config) if one.file == "apiserver"))
    with served(tmp_path) as port, pytest.raises(ConnectionError, match="expired"):
        get(port, tmp_path / "ca.crt")


def test_the_front_proxys_authority_is_ours_and_has_its_identifier(made):
    assert "subjectKeyIdentifier" in extensions(made["eks"] / "front-proxy-ca.crt")
    assert "authorityKeyIdentifier" in extensions(made["eks"] / "front-proxy.crt")
