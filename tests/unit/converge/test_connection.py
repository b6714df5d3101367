# SPDX-License-Identifier: Apache-2.0
"""The way to a Kubernetes API: what a kubeconfig carries stays in memory."""

from __future__ import annotations

import base64
import tempfile

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import ConnectionError, connect
from tests.support.webhook import self_signed


@pytest.fixture
def pems(tmp_path):
    """(certificate, key) of a client; the certificate is its own authority."""
    certificate = self_signed(tmp_path, "127.0.0.1")
    return certificate, (tmp_path / "webhook.key").read_bytes()


def kubeconfig(folder, cluster, user):
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def packed(pem):
    return base64.b64encode(pem).decode()


def test_a_key_is_written_to_no_file_that_stays(tmp_path, pems, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    certificate, key = pems
    user = {"client-certificate-data": packed(certificate), "client-key-data": packed(key)}
    connection = connect(kubeconfig=kubeconfig(tmp_path, {"certificate-authority-data": packed(certificate)}, user))
    client = Client(connection)
    assert list(scratch.iterdir()) == []
    assert client.connection.authority == certificate
    assert "PRIVATE KEY" not in repr(connection)


def test_files_beside_the_kubeconfig_are_the_same(tmp_path, pems):
    user = {"client-certificate": "webhook.crt", "client-key": "webhook.key"}
    connection = connect(kubeconfig=kubeconfig(tmp_path, {"certificate-authority": "webhook.crt"}, user))
    assert (connection.certificate, connection.key) == pems
    Client(connection)


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        (
            {"certificate-authority": "nowhere.crt"},
            {},
            "certificate-authority of kubeconfig .*nowhere.crt cannot be read",
        ),
        ({"certificate-authority-data": "%%%"}, {}, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": packed(b"nonsense")}, {}, "cannot be used"),
        ({}, {"client-certificate-data": packed(b"nonsense")}, "client certificate and key .* cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, cluster, user, said):
    with pytest.raises(ConnectionError, match=said):
        Client(connect(kubeconfig=kubeconfig(tmp_path, cluster, user)))
