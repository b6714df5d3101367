# SPDX-License-Identifier: Apache-2.0
"""Which proxy an address is reached by, and that it is: real proxies, and a name that only they can reach."""

from __future__ import annotations

import base64

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils import proxies
from ansible_collections.llm.on_eks.plugins.module_utils.proxies import ProxyError, proxy_for
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import Connection
from local.kubernetes import pki
from local.kubernetes.config import RANGES, ClusterConfig
from tests.support.proxies import proxy
from tests.support.tls_server import served

P = "http://proxy:3128"
HTTPS, HTTP = {"HTTPS_PROXY": P}, {"HTTP_PROXY": P}


@pytest.mark.parametrize(
    ("url", "environment", "wanted"),
    [
        ("https://api.example.com", {}, ""),
        ("https://api.example.com", HTTPS, P),
        ("https://api.example.com", {"https_proxy": P}, P),
        ("https://api.example.com", {"https_proxy": "proxy:3128"}, P),
        ("https://api.example.com", HTTP, ""),
        ("http://api.example.com", HTTP, P),
        ("http://api.example.com", HTTPS, ""),
        ("wss://api.example.com", HTTPS, P),
        # this machine
        ("https://127.0.0.1:6443", HTTPS, ""),
        ("https://localhost:6443", HTTPS, ""),
        ("https://[::1]:6443", HTTPS, ""),
        ("https://198.18.3.2:6443", HTTPS, ""),
        ("https://[2001:2::6]:6443", HTTPS, ""),
        # exceptions
        ("https://api.example.com", {**HTTPS, "NO_PROXY": "*"}, ""),
        ("https://api.example.com", {**HTTPS, "no_proxy": "other.com, example.com"}, ""),
        ("https://example.com", {**HTTPS, "NO_PROXY": "example.com"}, ""),
        ("https://example.com", {**HTTPS, "NO_PROXY": ".example.com"}, P),
        ("https://api.example.com", {**HTTPS, "NO_PROXY": ".example.com"}, ""),
        ("https://api.example.com", {**HTTPS, "NO_PROXY": "*.example.com"}, ""),
        ("https://notexample.com", {**HTTPS, "NO_PROXY": "example.com"}, P),
        ("https://api.example.com:6443", {**HTTPS, "NO_PROXY": "example.com:443"}, P),
        ("https://api.example.com", {**HTTPS, "NO_PROXY": "example.com:443"}, ""),
        ("https://10.1.2.3", {**HTTPS, "NO_PROXY": "10.0.0.0/8"}, ""),
        ("https://11.1.2.3", {**HTTPS, "NO_PROXY": "10.0.0.0/8,,"}, P),
        ("https://10.1.2.3:6443", {**HTTPS, "NO_PROXY": "10.1.2.3"}, ""),
        ("https://[fd00::5]:6443", {**HTTPS, "NO_PROXY": "fd00::/8"}, ""),
        ("https://[fd00::5]:6443", {**HTTPS, "NO_PROXY": "[fd00::5]:6443"}, ""),
        ("https://api.example.com", {**HTTPS, "NO_PROXY": "10.0.0.0/99"}, P),
    ],
)
def test_the_proxy_is_the_one_that_go_programs_take(url, environment, wanted):
    assert proxy_for(url, environment) == wanted


@pytest.mark.parametrize("family", RANGES)
def test_a_local_cluster_is_never_reached_by_a_proxy(family):
    assert proxy_for(ClusterConfig("any", ip_family=family).api_url, HTTPS) == ""


@pytest.mark.parametrize("nonsense", ["ftp://proxy", "http://", "http://proxy:notaport", "http://me:secret@:1"])
def test_a_proxy_that_is_none_is_named_without_its_password(nonsense):
    with pytest.raises(ProxyError, match=r"HTTPS_PROXY: .* is not a proxy") as raised:
        proxy_for("https://api.example.com", {"HTTPS_PROXY": nonsense})
    assert "secret" not in str(raised.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    pki.ensure(ClusterConfig("proxies"), folder)
    return folder


@pytest.fixture
def direct(monkeypatch):
    """An environment without proxies, to be filled."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def client(certificates, proxy_url=""):
    authority = (certificates / "ca.crt").read_bytes()
    connection = Connection("https://api.cluster.invalid:6443", authority, proxy=proxy_url, server_name="kubernetes")
    return Client(connection)


@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
def test_a_name_that_only_the_proxy_can_reach_is_reached(kind, certificates, direct):
    if kind != "http":
        pytest.importorskip("socks")
    names = []
    with served(certificates, names=names) as port, proxy(kind, port) as way:
        assert client(certificates, way.url).request("GET", "/") == b"{}"
        assert way.seen == ["api.cluster.invalid:6443"]
    assert names == ["kubernetes"]


def test_the_environments_proxy_is_taken(certificates, direct):
    with served(certificates) as port, proxy("http", port) as way:
        direct.setenv("HTTPS_PROXY", way.url)
        assert client(certificates).request("GET", "/") == b"{}"
        assert way.seen == ["api.cluster.invalid:6443"]


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_is_given_its_user_and_password(kind, certificates, direct):
    if kind != "http":
        pytest.importorskip("socks")
    with served(certificates) as port, proxy(kind, port) as way:
        client(certificates, way.url.replace("://", "://me:s%40cret@")).request("GET", "/")
        expected = {"http": f"Basic {base64.b64encode(b'me:s@cret').decode()}", "socks5": "me:s@cret"}
        assert way.credentials == [expected[kind]]


def test_socks_without_its_package_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(ProxyError, match=r"socks5://127.0.0.1:1 needs the Python package PySocks"):
        proxies.pool("socks5://127.0.0.1:1")
