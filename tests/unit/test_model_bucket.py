# SPDX-License-Identifier: Apache-2.0
"""Models in S3: real HTTP to moto, our signatures against botocore's own."""

from __future__ import annotations

import datetime
import hashlib
import os
import subprocess
import sys

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from moto.server import ThreadedMotoServer

from ansible_collections.llm.on_eks.plugins.module_utils.models.bucket import (
    Bucket,
    Credentials,
    find_credentials,
    sign,
)
from ansible_collections.llm.on_eks.plugins.module_utils.models.errors import (
    AccessError,
    ContentError,
    MissingError,
    ServerError,
)
from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client, Patience
from ansible_collections.llm.on_eks.plugins.module_utils.models.store import FileEntry, Manifest, ModelStore
from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Access, Request, sync
from ansible_collections.llm.on_eks.plugins.module_utils.models.transfer import Bounds
from ansible_collections.llm.on_eks.plugins.plugin_utils.models.pins import resolve
from tests.support.guarded_bucket import described_policies, guarded_bucket
from tests.support.pod_identity_agent import PodIdentityAgent

FILES = {"config.json": b"{}", "sub/model.gguf": b"GGUF" + os.urandom(300_000), "a b+c/ü.json": b"[1]"}


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server._server.server_port}"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def prefix(endpoint, tmp_path):
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    for name, data in FILES.items():
        s3.put_object(Bucket="models", Key=f"{tmp_path.name}/m/{name}", Body=data)
    return f"{tmp_path.name}/m"


def client():
    return Client(Patience(tries=3, first_wait_s=0.01, timeout_s=5))


def digest_of(files):
    entries = tuple(FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())
    return Manifest("", "", "", entries).digest


def run(tmp_path, endpoint, prefix, digest):
    (tmp_path / "models").mkdir(exist_ok=True)
    store = ModelStore(tmp_path / "models")
    request = Request("m", f"s3://models/{prefix}", f"sha256:{digest}")
    return store, sync(store, request, client(), Access(s3_endpoint=endpoint), bounds=Bounds(2, 64 << 10))


def test_a_prefix_is_published_when_its_files_have_the_revisions_digest(tmp_path, endpoint, prefix):
    store, outcome = run(tmp_path, endpoint, prefix, digest_of(FILES))
    assert outcome.changed
    for name, data in FILES.items():
        assert (store.root / "m" / digest_of(FILES)[:12] / name).read_bytes() == data


def test_another_content_than_the_revision_is_refused(tmp_path, endpoint, prefix):
    with pytest.raises(ContentError, match=f"have digest sha256:{digest_of(FILES)}"):
        run(tmp_path, endpoint, prefix, "0" * 64)
    assert not (tmp_path / "models" / "m").exists()


def test_a_prefix_with_nothing_in_it_says_so(tmp_path, endpoint, prefix):
    with pytest.raises(MissingError, match="holds nothing"):
        run(tmp_path, endpoint, f"{prefix}/none", "0" * 64)


@pytest.mark.slow
def test_a_long_prefix_is_listed_page_by_page(endpoint, tmp_path):
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="many")
    names = {f"{number:04}" for number in range(1005)}
    for name in names:
        s3.put_object(Bucket="many", Key=f"p/{name}", Body=b"x")
    listed = Bucket(client(), "many", "", endpoint).list("p").files
    assert {file.path for file in listed} == names


@pytest.mark.parametrize(
    "url",
    [
        "https://models.s3.eu-west-1.amazonaws.com/a/b%20c/model.safetensors",
        "https://models.s3.eu-west-1.amazonaws.com/?continuation-token=a%2Fb%3D&list-type=2&prefix=x%2F",
        "http://127.0.0.1:9000/models/%C3%BC",
    ],
)
@pytest.mark.parametrize("token", ["", "session"])
def test_signatures_are_those_of_botocore(url, token):
    now = datetime.datetime(2026, 11, 29, 12, 0, 0, tzinfo=datetime.UTC)
    ours = sign("GET", url, {}, Credentials("AKID", "secret", token), "eu-west-1", now)
    request = AWSRequest(method="GET", url=url, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    theirs = S3SigV4Auth(TheirCredentials("AKID", "secret", token or None), "s3", "eu-west-1")
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = theirs.canonical_request(request)
    canonical = canonical.rpartition("\n")[0] + "\nUNSIGNED-PAYLOAD"
    signature = theirs.signature(theirs.string_to_sign(request, canonical), request)
    assert ours["Authorization"].endswith(f"Signature={signature}")


@pytest.fixture
def agent():
    with PodIdentityAgent("127.0.0.1", {"eyJ": CREDENTIALS}) as made:
        yield made


CREDENTIALS = {"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T", "AccountId": "1"}


def asked(agent, tmp_path, token, *, tries=3):
    (tmp_path / "token").write_text(f"{token}\n")
    given = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    return find_credentials(Client(Patience(tries=tries, first_wait_s=0.01, timeout_s=5)), given)


def test_pod_identity_gives_the_credentials(agent, tmp_path):
    found = asked(agent, tmp_path, "eyJ")
    assert (found.key_id, found.secret, found.token) == ("A", "S", "T")
    assert found.ends > datetime.datetime.now(datetime.UTC)
    assert agent.asked == ["eyJ"]


def test_the_agent_is_asked_without_the_proxy_of_the_job(agent, tmp_path, monkeypatch):
    """https://github.com/awsdocs/amazon-eks-user-guide/pull/878"""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert asked(agent, tmp_path, "eyJ", tries=1).key_id == "A"


def test_a_service_account_without_an_association_is_told_so(agent, tmp_path):
    with pytest.raises(AccessError, match=r"gives no credentials: has the service account .* an association.*Denied"):
        asked(agent, tmp_path, "eyK")
    agent.__exit__()
    with pytest.raises(ServerError, match="gives no credentials"):
        asked(agent, tmp_path, "eyJ")


def program(tmp_path, agent, url, source, digest):
    """The Job's program, with what EKS puts into its pod."""
    (tmp_path / "token").write_text("eyJ")
    (tmp_path / "models").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    variables = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": "us-east-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    module = "ansible_collections.llm.on_eks.plugins.module_utils.models.job"
    arguments = [
        f"--root={tmp_path / 'models'}",
        "fetch",
        "--name=m",
        f"--source={source}",
        f"--revision=sha256:{digest}",
    ]
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.programs
def test_the_roles_own_policy_lets_the_job_read_its_models_and_nothing_else(tmp_path):
    """Signatures and the policy that role models describes are both checked."""
    files = {"llama-2-13b/config.json": b"{}", "other/config.json": b"[]"}
    with guarded_bucket("127.0.0.1", "my-models", files, described_policies()) as (url, credentials):
        with PodIdentityAgent("127.0.0.1", {"eyJ": credentials}) as agent:
            digest = digest_of({"config.json": b"{}"})
            done = program(tmp_path, agent, url, "s3://my-models/llama-2-13b", digest)
            assert done.returncode == 0, done.stdout + done.stderr
            refused = program(tmp_path, agent, url, "s3://my-models/other", digest_of({"config.json": b"[]"}))
        assert refused.returncode == 7
        assert refused.stderr == f"model-store: {url}/my-models/other/config.json answered 403: Access Denied.\n"
        said = done.stdout + done.stderr + refused.stdout + refused.stderr
        assert not [
            secret for secret in (credentials["SecretAccessKey"], credentials["Token"], "eyJ") if secret in said
        ]


def test_one_object_is_a_source_and_its_neighbours_are_not(tmp_path, endpoint):
    """https://github.com/kserve/kserve/issues/2473, https://github.com/kserve/kserve/issues/3776"""
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    for name in ("tiny.gguf", "tiny.gguf-logs", "tiny.gguf-report/x"):
        s3.put_object(
            Bucket="models", Key=f"{tmp_path.name}/{name}", Body=b"GGUF" + name.encode(), ChecksumAlgorithm="SHA256"
        )
    entry = {"name": "m", "engine": "llamacpp", "source": f"s3://models/{tmp_path.name}/tiny.gguf", "revision": ""}
    [locked] = resolve([entry], Access(s3_endpoint=endpoint), client())
    store, outcome = run(tmp_path, endpoint, f"{tmp_path.name}/tiny.gguf", locked.revision.removeprefix("sha256:"))
    [file] = outcome.manifest.files
    assert (store.root / "m" / outcome.manifest.revision / file.path).read_bytes() == b"GGUFtiny.gguf"


def test_a_prefix_with_one_gguf_file_has_the_digest_that_was_locked(tmp_path, endpoint):
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key=f"{tmp_path.name}/tiny.gguf", Body=b"GGUF", ChecksumAlgorithm="SHA256")
    entry = {"name": "m", "engine": "llamacpp", "source": f"s3://models/{tmp_path.name}", "revision": ""}
    [locked] = resolve([entry], Access(s3_endpoint=endpoint), client())
    assert run(tmp_path, endpoint, tmp_path.name, locked.revision.removeprefix("sha256:"))[1].changed


def test_without_credentials_the_sentence_says_what_to_do(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda __: None)
    with pytest.raises(AccessError, match="by Pod Identity"):
        find_credentials(client(), {})
