# SPDX-License-Identifier: Apache-2.0
"""Our kubeconfig loader beside the one of the package `kubernetes`, case by case; where they differ, kubectl is right.

The package costs half a CPU second to import, which is why it is not taken (docs/connections.md).
"""

from __future__ import annotations

import base64
import datetime
import json
import stat
import time
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.client import Configuration
from kubernetes.config import kube_config

from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import credentials
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.client import Client
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import ConnectionError, connect
from local.kubernetes import pki
from local.kubernetes.config import ClusterConfig

V1 = "client.authentication.k8s.io/v1"


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    pki.ensure(ClusterConfig("kubeconfig-test"), folder)
    return folder


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch):
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def packed(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def document(cluster=None, user=None, *, context=None, current="c"):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **(context or {})}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }


def written(file: Path, *parts) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(parts[0] if parts else document()))
    return file


def theirs(named: str, context=None) -> dict[str, object]:
    """What the package makes of it."""
    configuration = Configuration()
    kube_config.load_kube_config(named, context, configuration, persist_config=False)

    def content(file):
        return Path(file).read_bytes() if file else b""

    return {
        "server": configuration.host,
        "authority": content(configuration.ssl_ca_cert),
        "certificate": content(configuration.cert_file),
        "key": content(configuration.key_file),
        "authorization": configuration.api_key.get("BearerToken", ""),
        "proxy": configuration.proxy or "",
        "verify": configuration.verify_ssl,
        "server_name": configuration.tls_server_name or "",
    }


def ours(named: str, context="") -> dict[str, object]:
    found = connect(kubeconfig=named, context=context)
    bearer = f"Bearer {found.token.value()}" if found.token else dict(found.headers).get("Authorization", "")
    return {
        "server": found.server,
        "authority": found.authority,
        "certificate": found.certificate,
        "key": found.key,
        "authorization": bearer,
        "proxy": found.proxy,
        "verify": found.verify,
        "server_name": found.server_name,
    }


def command(folder: Path, answer, name="plugin", before="") -> str:
    """A credential plugin that answers so, and writes what it was told beside itself."""
    file = folder / name
    text = answer if isinstance(answer, str) else json.dumps(answer)
    lines = ["#!/bin/sh", before, f'printf %s "$KUBERNETES_EXEC_INFO" > {folder}/told', f"cat <<'END'\n{text}\nEND\n"]
    file.write_text("\n".join(lines))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def credential(version=V1, **status):
    return {"apiVersion": version, "kind": "ExecCredential", "status": status}


def plugin(program, version=V1, **more):
    return {"exec": {"command": program, "apiVersion": version, "interactiveMode": "IfAvailable", **more}}


def jwt(end: float) -> str:
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'exp': end})}.c2ln"


# --- where both are of one mind


def in_one_file(folder, pems):
    user = {"client-certificate-data": packed(pems / "admin.crt"), "client-key-data": packed(pems / "admin.key")}
    return str(written(folder / "kc", document({"certificate-authority-data": packed(pems / "ca.crt")}, user)))


def files_beside_it(folder, pems):
    written(
        folder / "a" / "kc",
        document({"certificate-authority": "../ca"}, {"client-certificate": "crt", "client-key": "key"}),
    )
    (folder / "ca").write_bytes((pems / "ca.crt").read_bytes())
    (folder / "a" / "crt").write_bytes((pems / "admin.crt").read_bytes())
    (folder / "a" / "key").write_bytes((pems / "admin.key").read_bytes())
    return str(folder / "a" / "kc")


def several_files(folder, pems):
    whole = document({"certificate-authority": "ca"}, {"token": "t"})
    clusters = {key: whole[key] for key in ("apiVersion", "kind", "clusters")}
    rest = {key: value for key, value in whole.items() if key != "clusters"}
    written(folder / "a" / "clusters", clusters)
    (folder / "a" / "ca").write_bytes((pems / "ca.crt").read_bytes())
    written(folder / "b" / "rest", rest)
    return f"{folder}/a/clusters:{folder}/b/rest"


def a_missing_one(folder, pems):
    return f"/nonexistent/kc:{in_one_file(folder, pems)}"


def an_empty_entry(folder, pems):
    return f":{in_one_file(folder, pems)}:"


def two_entries_of_one_name(folder, pems):
    written(folder / "first", document({"server": "https://first:6443"}, {"token": "first"}))
    written(folder / "second", document({"server": "https://second:6443"}, {"token": "second"}))
    return f"{folder}/first:{folder}/second"


def a_token(folder, pems):
    return str(written(folder / "kc", document(user={"token": "t"})))


def a_token_file(folder, pems):
    (folder / "token").write_text("from-file")
    return str(written(folder / "kc", document(user={"tokenFile": "token"})))


def a_plugin(folder, pems):
    return str(written(folder / "kc", document(user=plugin(command(folder, credential(token="p"))))))


def a_plugin_that_gives_a_certificate(folder, pems):
    given = credential(
        clientCertificateData=(pems / "admin.crt").read_text(), clientKeyData=(pems / "admin.key").read_text()
    )
    return str(written(folder / "kc", document(user=plugin(command(folder, given)))))


def a_plugin_on_v1beta1(folder, pems):
    version = "client.authentication.k8s.io/v1beta1"
    program = command(folder, credential(version, token="p", expirationTimestamp="2099-01-01T00:00:00Z"))
    return str(written(folder / "kc", document(user=plugin(program, version, args=None, env=None))))


def an_oidc_token_that_holds(folder, pems):
    config = {"id-token": jwt(time.time() + 3600), "idp-issuer-url": "https://idp", "client-id": "x"}
    return str(written(folder / "kc", document(user={"auth-provider": {"name": "oidc", "config": config}})))


def user_and_password(folder, pems):
    return str(written(folder / "kc", document(user={"username": "me", "password": "secret"})))


def another_server_name(folder, pems):
    return str(written(folder / "kc", document({"tls-server-name": "api.internal"})))


def no_verification(folder, pems):
    return str(written(folder / "kc", document({"insecure-skip-tls-verify": True})))


def a_proxy(folder, pems):
    return str(written(folder / "kc", document({"proxy-url": "http://proxy:3128"})))


def no_user(folder, pems):
    return str(written(folder / "kc", document(context={"user": ""})))


SAME = [
    in_one_file,
    files_beside_it,
    several_files,
    a_missing_one,
    an_empty_entry,
    two_entries_of_one_name,
    a_token,
    a_token_file,
    a_plugin,
    a_plugin_that_gives_a_certificate,
    a_plugin_on_v1beta1,
    an_oidc_token_that_holds,
    user_and_password,
    another_server_name,
    no_verification,
    a_proxy,
    no_user,
]


@pytest.mark.programs
@pytest.mark.parametrize("case", SAME, ids=lambda case: case.__name__)
def test_both_loaders_make_the_same_of(case, tmp_path, pems):
    named = case(tmp_path, pems)
    assert ours(named) == theirs(named)


# --- where kubectl is right, and the package is not


def test_of_two_current_contexts_the_first_counts_as_in_kubectl(tmp_path):
    first = document(user={"token": "first"}) | {"contexts": [], "current-context": "one"}
    first["contexts"] = [{"name": "one", "context": {"cluster": "k", "user": "u"}}]
    written(tmp_path / "first", first)
    written(tmp_path / "second", document(current="c"))
    named = f"{tmp_path}/first:{tmp_path}/second"
    connect(kubeconfig=named)
    assert ours(named)["authorization"] == "Bearer first"


def test_a_token_goes_before_a_plugin_as_in_client_go(tmp_path):
    named = written(tmp_path / "kc", document(user={"token": "t", **plugin("/nonexistent/plugin")}))
    assert ours(str(named))["authorization"] == "Bearer t"


def test_a_token_file_goes_before_a_token_as_in_client_go(tmp_path):
    (tmp_path / "token").write_text("fresh\n")
    named = written(tmp_path / "kc", document(user={"token": "stale", "tokenFile": "token"}))
    assert ours(str(named))["authorization"] == "Bearer fresh"


def test_a_token_file_that_rotates_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("one")
    token = connect(kubeconfig=str(written(tmp_path / "kc", document(user={"tokenFile": "token"})))).token
    assert token.value() == "one"
    (tmp_path / "token").write_text("two")
    assert token.value() == "one"
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=61)
    monkeypatch.setattr(credentials, "_now", lambda: later)
    assert token.value() == "two"


def test_a_refused_token_is_read_again_at_once(tmp_path):
    (tmp_path / "token").write_text("one")
    token = connect(kubeconfig=str(written(tmp_path / "kc", document(user={"tokenFile": "token"})))).token
    token.value()
    (tmp_path / "token").write_text("two")
    token.reject()
    assert token.value() == "two"


def test_users_of_a_kubeconfig_act_as_others(tmp_path):
    user = {"token": "t", "as": "jane", "as-groups": ["a", "b"], "as-uid": "7", "as-user-extra": {"scope": ["x", "y"]}}
    assert connect(kubeconfig=str(written(tmp_path / "kc", document(user=user)))).headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scope", "x"),
        ("Impersonate-Extra-scope", "y"),
    )


def test_each_group_is_a_header_of_its_own(tmp_path):
    found = connect(kubeconfig=str(written(tmp_path / "kc")), impersonate_user="jane", impersonate_groups=["a,b", "c"])
    headers = Client(found)._headers("application/json", "*/*")
    assert [value for name, value in headers.items() if name == "Impersonate-Group"] == ["a,b", "c"]


# --- exec plugins


@pytest.mark.programs
def test_a_plugin_is_told_that_nobody_answers_and_of_its_cluster_where_it_asks(tmp_path, pems):
    cluster = {
        "certificate-authority-data": packed(pems / "ca.crt"),
        "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
    }
    user = plugin(command(tmp_path, credential(token="p")), provideClusterInfo=True, interactiveMode="Never")
    connect(kubeconfig=str(written(tmp_path / "kc", document(cluster, user))))
    spec = json.loads((tmp_path / "told").read_text())["spec"]
    assert spec["interactive"] is False
    assert spec["cluster"] == {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": packed(pems / "ca.crt"),
        "config": {"audience": "x"},
    }


@pytest.mark.programs
def test_a_plugin_with_a_slash_begins_at_its_kubeconfig(tmp_path):
    (tmp_path / "bin").mkdir()
    command(tmp_path / "bin", credential(token="p"))
    assert ours(str(written(tmp_path / "kc", document(user=plugin("./bin/plugin")))))["authorization"] == "Bearer p"


@pytest.mark.programs
def test_a_plugin_is_asked_again_when_its_token_ends(tmp_path, monkeypatch):
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    program = command(tmp_path, credential(token="one", expirationTimestamp=soon))
    token = connect(kubeconfig=str(written(tmp_path / "kc", document(user=plugin(program))))).token
    assert token.value() == "one"
    command(tmp_path, credential(token="two"))
    assert token.value() == "one"
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    monkeypatch.setattr(credentials, "_now", lambda: later)
    assert token.value() == "two"


def bad_plugin(answer, before="", **more):
    return lambda folder: document(user=plugin(command(folder, answer, before=before), **more))


SENTENCES = {
    "a plugin that must ask": (
        bad_plugin(credential(token="p"), interactiveMode="Always"),
        "wants to ask at a terminal",
    ),
    "a plugin that is not there": (
        lambda folder: document(user=plugin("nowhere-login", installHint="brew install\n nowhere")),
        "asks for the command nowhere-login, which is not installed; brew install nowhere",
    ),
    "a plugin that fails": (bad_plugin("", before="echo no session >&2; exit 3"), "plugin failed: no session"),
    "a plugin that says nothing": (bad_plugin(""), "gave no ExecCredential"),
    "a plugin of another version": (bad_plugin(credential("x/v9", token="p")), "answers in x/v9, the kubeconfig says"),
    "a plugin without a token": (
        bad_plugin(credential(expirationTimestamp="2099-01-01T00:00:00Z")),
        "neither token nor",
    ),
    "a plugin with half a pair": (bad_plugin(credential(clientCertificateData="x")), "without clientKeyData"),
    "a plugin with nonsense as its end": (bad_plugin(credential(token="p", expirationTimestamp="soon")), "gave 'soon'"),
    "exec without a command": (
        lambda folder: document(user={"exec": {"args": ["x"]}}),
        "exec needs command and apiVersion",
    ),
    "an OIDC token that has ended": (
        lambda folder: document(user={"auth-provider": {"name": "oidc", "config": {"id-token": jwt(1)}}}),
        "OIDC token in kubeconfig .* has ended; any command of kubectl renews it",
    ),
    "an OIDC token that is not there": (
        lambda folder: document(user={"auth-provider": {"name": "oidc", "config": None}}),
        "is not there; any command of kubectl",
    ),
    "a provider of before 1.26": (
        lambda folder: document(user={"auth-provider": {"name": "gcp"}}),
        "auth-provider gcp is gone from Kubernetes since 1.26",
    ),
    "a token file that is not there": (
        lambda folder: document(user={"tokenFile": "nowhere"}),
        "tokenFile of .*cannot be read",
    ),
    "no current context": (lambda folder: document(current=""), "no current-context; set platform_context .*: c"),
    "an unknown context": (lambda folder: document(current="x"), "no entry 'x' in contexts; it has c"),
    "an unknown cluster": (lambda folder: document(context={"cluster": "x"}), "no entry 'x' in clusters; it has k"),
    "an unknown user": (lambda folder: document(context={"user": "x"}), "no entry 'x' in users; it has u"),
    "no server": (lambda folder: document({"server": None}), "server '' is not an address"),
    "a number as server": (lambda folder: document({"server": 5}), "server is 5, which is not text"),
    "a proxy that is none": (
        lambda folder: document({"proxy-url": "nonsense"}),
        "proxy-url in kubeconfig .*'nonsense' is not a proxy",
    ),
    "a list": (lambda folder: ["x"], "is not a kubeconfig"),
    "clusters as a mapping": (lambda folder: {"clusters": {"k": {}}}, "is not a kubeconfig"),
    "an entry that is a text": (lambda folder: {"clusters": ["k"]}, "an entry of clusters has no name"),
    "groups without a user": (lambda folder: document(user={"as-groups": ["a"]}), "groups are given without a user"),
}


@pytest.mark.programs
@pytest.mark.parametrize("case", SENTENCES)
def test_what_cannot_be_used_ends_in_one_sentence(case, tmp_path):
    make, sentence = SENTENCES[case]
    file = written(tmp_path / "kc", make(tmp_path))
    with pytest.raises(Exception, match=sentence) as raised:
        ours(str(file))
    assert type(raised.value).__name__ in ("ConnectionError", "ProxyError")
    assert "\n" not in str(raised.value)


def test_what_is_no_yaml_is_said_with_its_line(tmp_path):
    (tmp_path / "kc").write_text("clusters:\n  - name: 'x\n")
    with pytest.raises(ConnectionError, match=r"kc is not YAML \(line \d\)"):
        connect(kubeconfig=str(tmp_path / "kc"))


def test_of_several_files_that_are_all_missing_each_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent/a:/nonexistent/b")
    with pytest.raises(ConnectionError, match="/nonexistent/a and /nonexistent/b do not exist"):
        connect()


def test_kubeconfig_from_the_environment_may_be_several_files(tmp_path, pems, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", several_files(tmp_path, pems))
    assert connect().authority == (pems / "ca.crt").read_bytes()


def test_an_oidc_token_that_kubectl_renewed_meanwhile_is_taken(tmp_path):
    def config(token):
        return document(user={"auth-provider": {"name": "oidc", "config": {"id-token": token}}})

    token = connect(kubeconfig=str(written(tmp_path / "kc", config(jwt(1))))).token
    with pytest.raises(ConnectionError, match="has ended"):
        token.value()
    fresh = jwt(time.time() + 3600)
    written(tmp_path / "kc", config(fresh))
    assert token.value() == fresh


# --- client keys

FORMS = {
    "PKCS8": serialization.PrivateFormat.PKCS8,
    "as EC": serialization.PrivateFormat.TraditionalOpenSSL,
}


@pytest.mark.parametrize("form", FORMS)
def test_elliptic_keys_are_taken_in_either_form_and_refused_with_a_password(form, tmp_path, pems):
    key = serialization.load_pem_private_key((pems / "admin.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def user(encryption):
        data = key.private_bytes(serialization.Encoding.PEM, FORMS[form], encryption)
        pair = {"client-key-data": base64.b64encode(data).decode()}
        return pair | {"client-certificate-data": packed(pems / "admin.crt")}

    plain = written(tmp_path / "plain", document(user=user(serialization.NoEncryption())))
    Client(connect(kubeconfig=str(plain)))
    locked = written(tmp_path / "locked", document(user=user(serialization.BestAvailableEncryption(b"word"))))
    with pytest.raises(ConnectionError, match="has a password, which kubectl does not take either"):
        Client(connect(kubeconfig=str(locked)))


def test_in_a_pod_of_an_ipv6_cluster_the_address_has_its_brackets(tmp_path, monkeypatch):
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import connection

    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("")
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert connect().server == "https://[fd00::1]:443"
