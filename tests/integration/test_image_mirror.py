# SPDX-License-Identifier: Apache-2.0
"""Images go from one real registry (Debian's docker-registry) into another by their digest, with a password, and only once."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.images import mirror
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Manifest, Registry, RegistryError
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws
from tests.support.local_platform import recap
from tools.debian import find, install_missing
from tools.images.build import Options, plan

REPO = Path(__file__).resolve().parents[2]

# bcrypt of "secret", and of what the emulated ECR gives: the registry reads no other form.
HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\nAWS:$2y$05$abcdefghijklmnopqrstuu/4ofrUS75HrKu6f.iuRo0I/XlrmpqlC\n"
BASIC = "Basic " + b64encode(b"user:secret").decode()


def started(folder, *, password=False):
    """(process, host) of a registry that stores in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    folder.mkdir()
    auth = ""
    if password:
        (folder / "htpasswd").write_text(HTPASSWD)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n{auth}http: {{addr: {host}}}\n"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen(
        [find("docker-registry"), "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=5)
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.1)
    return process, host


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    """Two hosts: one open, one with a password."""
    install_missing({"docker-registry": "docker-registry"})
    folder = tmp_path_factory.mktemp("registries")
    made = []
    try:
        for name, password in (("source", False), ("target", True)):
            made.append(started(folder / name, password=password))
        yield [host for _, host in made]
    finally:
        for process, _ in made:
            process.terminate()
            process.wait(10)


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def published(registry, repository, tag, *platforms):
    """An index with an image for each platform; the digest of the index."""
    entries = []
    for platform in platforms:
        config = json.dumps(
            {"architecture": platform, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        layer = os.urandom(3_000_000)
        for blob in (config, layer):
            registry.put_blob(repository, digest_of(blob), len(blob), iter([blob[:1000], blob[1000:]]))
        kinds = ("config.v1+json", "layer.v1.tar")
        described = [
            {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest_of(blob), "size": len(blob)}
            for kind, blob in zip(kinds, (config, layer), strict=True)
        ]
        kind = "application/vnd.oci.image.manifest.v1+json"
        content = {"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}
        image = Manifest(json.dumps(content).encode(), kind)
        registry.put_manifest(repository, image.digest, image)
        where = {"os": "linux", "architecture": platform}
        entries.append({"mediaType": kind, "digest": image.digest, "size": len(image.body), "platform": where})
    kind = "application/vnd.oci.image.index.v1+json"
    index = Manifest(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode(), kind)
    registry.put_manifest(repository, tag, index)
    return index.digest


def test_an_image_arrives_whole_with_its_digest_and_a_second_time_nothing_moves(registries):
    source, target = Registry(registries[0]), Registry(registries[1], BASIC)
    digest = published(source, "vllm/vllm-openai", "v1", "amd64", "arm64")
    assert source.digest("vllm/vllm-openai", "v1") == digest
    said = []
    assert mirror.copy(source, "vllm/vllm-openai", digest, target, "mirror/vllm", "v1", said.append)
    assert len(said) == 4
    found = target.manifest("mirror/vllm", "v1")
    assert found.digest == digest
    for child in found.children:
        for blob in target.manifest("mirror/vllm", child).blobs:
            with target.blob("mirror/vllm", blob) as chunks:
                assert digest_of(b"".join(chunks)) == blob
    assert not mirror.copy(source, "vllm/vllm-openai", digest, target, "mirror/vllm", "v1", said.append)
    assert len(said) == 4


def test_a_moved_tag_does_not_change_what_is_mirrored(registries):
    source, target = Registry(registries[0]), Registry(registries[1], BASIC)
    locked = published(source, "tgi", "3", "amd64")
    published(source, "tgi", "3", "amd64")
    mirror.copy(source, "tgi", locked, target, "mirror/tgi", "3")
    assert target.digest("mirror/tgi", "3") == locked


def test_what_cannot_be_read_or_written_is_said_in_one_sentence(registries):
    source = Registry(registries[0])
    digest = published(source, "sglang", "1", "amd64")
    with pytest.raises(RegistryError, match="answers 404 for none/manifests/1; there is no such image"):
        source.manifest("none", "1")
    with pytest.raises(RegistryError, match=r"answers 401 .* log in to the registry"):
        mirror.copy(source, "sglang", digest, Registry(registries[1]), "mirror/sglang", "1")
    with pytest.raises(RegistryError, match="does not answer"):
        Registry("127.0.0.1:9").manifest("x", "1")


@pytest.mark.full
@pytest.mark.programs
@pytest.mark.parametrize("kind", ["another registry", "ECR"])
def test_the_playbooks_lock_and_mirror_what_the_catalogue_needs_and_no_more(registries, tmp_path, kind):
    source, target = Registry(registries[0]), Registry(registries[1], BASIC)
    engine = published(source, "vllm/vllm-openai", "v33", "amd64")
    base = published(source, "library/python", "3.12-slim", "amd64")
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {registries[1]: {"auth": BASIC.removeprefix("Basic ")}}}))
    model = {"name": "m", "source": "hf://ORG/NAME", "revision": "1" * 40, "engine": "vllm", "parameters": "8B"}
    prefix = kind.split()[0].lower()
    variables = {
        "platform_provider": "existing",
        "platform_kubeconfig": str(tmp_path / "none"),
        "platform_lock_file": str(tmp_path / "release.lock.yml"),
        "engine_vllm_image": f"{registries[0]}/vllm/vllm-openai:v33",
        "registry_push_base": f"{registries[0]}/library/python:3.12-slim",
        "images_file": str(tmp_path / "images.yml"),
        "model_catalog": [
            {**model, "accelerators": ["g6.xlarge"]},
            {**model, "name": "gone", "engine": "tgi", "state": "absent"},
        ],
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }

    def play(name, *arguments):
        groups = {"eks_clusters": {"hosts": {"c": variables}}, "aws_accounts": {"hosts": {"account": {}}}}
        (tmp_path / "hosts.yml").write_text(json.dumps(groups))
        command = [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            tmp_path / "hosts.yml",
            f"playbooks/{name}.yml",
        ]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        return subprocess.run(
            [*command, *arguments], cwd=REPO, env=environment, capture_output=True, text=True, check=False
        )

    with EmulatedAws("--registry", f"http://{registries[1]}") as aws:
        if kind == "ECR":
            keys = tmp_path / "credentials"
            keys.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in KEYS.items()))
            variables |= {"platform_aws_endpoint_url": aws.url, "platform_aws_credentials_file": str(keys)}
            variables |= {"platform_aws_region": REGION, "registry_prefix": prefix}
        else:
            variables["images_registry"] = f"{registries[1]}/{prefix}"
        refused = play("images")
        assert refused.returncode != 0
        assert "is not in" in refused.stdout + refused.stderr, refused.stdout + refused.stderr
        assert "playbooks/lock.yml" in refused.stdout + refused.stderr
        done = play("lock")
        assert done.returncode == 0, done.stdout
        locked = yaml.safe_load((tmp_path / "release.lock.yml").read_text())["images"]
        assert {one["reference"]: one["digest"] for one in locked} == {
            variables["engine_vllm_image"]: engine,
            variables["registry_push_base"]: base,
        }
        # Ours are not built here: the registry has them already, under the tags of their content.
        plans = plan(
            ["gateway", "model_store"], REPO, Options(tmp_path / "cache", f"{variables['registry_push_base']}@{base}")
        )
        for one in plans:
            published(target, f"{prefix}/{one.image.name}", one.ref.rpartition(":")[2], "amd64")
        assert recap(play("images", "--check").stdout)["changed"] == 1
        done = play("images")
        assert done.returncode == 0, done.stdout
        written = yaml.safe_load((tmp_path / "images.yml").read_text())["platform_images"]
        assert written["vllm"] == f"{registries[1]}/{prefix}/vllm@{engine}"
        assert sorted(written) == ["gateway", "model_store", "vllm"]
        assert target.manifest(f"{prefix}/vllm", f"v33-{engine[7:19]}").digest == engine
        assert recap(play("images").stdout)["changed"] == 0
        made = [row["repositoryName"] for row in aws.client("ecr").describe_repositories()["repositories"]]
        assert made == (["ecr/vllm"] if kind == "ECR" else [])
