# SPDX-License-Identifier: Apache-2.0
"""The way to an API server, as kubectl has it: files, proxies, impersonation."""

from __future__ import annotations

import json
import os
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import ApiError, Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect
from tests.support.proxies import proxy
from tools.obtain import default_cache

pytestmark = pytest.mark.apiserver


@pytest.fixture
def config(api_server, monkeypatch):
    """The content of an administrator's kubeconfig; nothing comes from the environment."""
    for variable in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return json.loads(api_server.read_text())


def written(file, **content):
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **content}))
    return file


def namespaces(**options):
    client = Client(connect(**options))
    return [found["metadata"]["name"] for found in client.list(client.resource("v1", "Namespace"))]


def kubectl_reads(environment):
    binary = next(default_cache().glob("tools/kubectl/*/kubectl"))
    command = [binary, "get", "namespaces", "-o", "name"]
    return (
        subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False
        ).returncode
        == 0
    )


def one_file(folder, api_server, config):
    return str(api_server)


def a_missing_one_first(folder, api_server, config):
    return f"/nonexistent/kubeconfig:{api_server}"


def an_empty_entry(folder, api_server, config):
    return f":{api_server}"


def clusters_and_users_apart(folder, api_server, config):
    clusters = written(folder / "clusters", clusters=config["clusters"])
    rest = {key: config[key] for key in ("users", "contexts", "current-context")}
    return f"{clusters}:{written(folder / 'rest', **rest)}"


CASES = [one_file, a_missing_one_first, an_empty_entry, clusters_and_users_apart]


# https://github.com/ansible-collections/kubernetes.core/issues/544, .../issues/435, https://github.com/ansible/ansible/issues/64545
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_kubeconfig_lists_files_as_for_kubectl(case, tmp_path, api_server, config, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", case(tmp_path, api_server, config))
    assert "default" in namespaces()
    assert kubectl_reads({})


@pytest.fixture
def hidden(config, tmp_path):
    """(kubeconfig of a name that only a proxy can reach, where that leads)."""
    address = urlsplit(config["clusters"][0]["cluster"]["server"])
    settings = config["clusters"][0]["cluster"]
    settings.update({"server": "https://api.cluster.invalid:6443", "tls-server-name": "kubernetes"})
    return written(tmp_path / "hidden", **config), address


# https://github.com/ansible-collections/kubernetes.core/issues/271, https://github.com/kubernetes/kubectl/issues/1653,
# https://github.com/kubernetes-client/python/issues/2460
def test_an_api_server_is_reached_by_the_environments_proxy(hidden, monkeypatch):
    file, address = hidden
    with proxy("http", address.port, address.hostname) as way:
        monkeypatch.setenv("HTTPS_PROXY", way.url)
        assert "default" in namespaces(kubeconfig=str(file))
        assert set(way.seen) == {"api.cluster.invalid:6443"}
        assert kubectl_reads({"KUBECONFIG": str(file)})


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_an_api_server_is_reached_by_the_kubeconfigs_proxy(kind, hidden, config):
    file, address = hidden
    if kind == "socks5":
        pytest.importorskip("socks")
    with proxy(kind, address.port, address.hostname) as way:
        config["clusters"][0]["cluster"]["proxy-url"] = way.url
        written(file, **config)
        assert "default" in namespaces(kubeconfig=str(file))
        assert way.seen


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "nonsense"])
def test_a_proxy_that_cannot_be_used_is_named(url, hidden, config):
    config["clusters"][0]["cluster"]["proxy-url"] = url
    file = written(hidden[0], **config)
    if url.startswith("socks"):
        pytest.importorskip("socks")
    begun = time.monotonic()
    with pytest.raises(Exception, match=r"(?i)proxy|socks"):
        namespaces(kubeconfig=str(file))
    assert time.monotonic() - begun < 25


def test_each_impersonated_group_counts(api_server, client, name, kubectl):
    """Of two groups, each with one right, both rights are there: groups in one header would be one group."""
    for group, resource in ((f"{name}-a", "configmaps"), (f"{name}-b", "secrets")):
        kubectl("create", "clusterrole", group, "--verb=list", f"--resource={resource}")
        kubectl("create", "clusterrolebinding", group, f"--clusterrole={group}", f"--group={group}")
    both = {"impersonate_user": "jane", "impersonate_groups": [f"{name}-a", f"{name}-b"]}
    try:
        acting = Client(connect(kubeconfig=str(api_server), **both))
        for path in ("/api/v1/configmaps", "/api/v1/secrets"):
            acting.request("GET", path)
        with pytest.raises(ApiError, match="jane"):
            acting.request("GET", "/api/v1/pods")
    finally:
        for group in both["impersonate_groups"]:
            kubectl("delete", "clusterrole,clusterrolebinding", group)
