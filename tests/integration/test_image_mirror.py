# SPDX-License-Identifier: Apache-2.0
"""Images go from one real registry (Debian's docker-registry) into another by their digest, with a password, and only once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import bundle
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.images import mirror
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Registry, RegistryError
from tests.support.docker_registry import BASIC, digest_of, published, started
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws
from tests.support.local_platform import recap
from tools.images.build import Options, plan

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    """Two hosts: one open, one with a password."""
    folder = tmp_path_factory.mktemp("registries")
    made = []
    try:
        for name, password in (("source", False), ("target", True)):
            made.append(started(folder / name, password=password))
        yield [host for __, host in made]
    finally:
        for process, __ in made:
            process.terminate()
            process.wait(10)


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
        planned, done = play("images", "--check"), play("images")
        assert done.returncode == 0, done.stdout
        # The image, and the file with its reference.
        assert recap(planned.stdout)["changed"] == recap(done.stdout)["changed"] == 2
        written = yaml.safe_load((tmp_path / "images.yml").read_text())["platform_images"]
        assert written["vllm"] == f"{registries[1]}/{prefix}/vllm@{engine}"
        assert sorted(written) == ["gateway", "model_store", "vllm"]
        assert target.manifest(f"{prefix}/vllm", f"v33-{engine[7:19]}").digest == engine
        assert recap(play("images").stdout)["changed"] == 0
        made = [row["repositoryName"] for row in aws.client("ecr").describe_repositories()["repositories"]]
        assert made == (["ecr/vllm"] if kind == "ECR" else [])


@pytest.fixture
def bundled(registries, tmp_path, monkeypatch):
    """(registry, its host, components that name an image of it, folder); the target's password is on this machine."""
    auth = {"auths": {registries[1]: {"auth": BASIC.removeprefix("Basic ")}}}
    (tmp_path / "auth.json").write_text(json.dumps(auth))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    image = f"{registries[0]}/org/engine:1"
    components = parse([{"name": "engine", "images": [image]}])
    return Registry(registries[0]), image, components, tmp_path / "bundle"


def test_a_bundle_has_the_locked_image_and_brings_it_where_nobody_reaches_its_publisher(registries, bundled):
    source, image, components, folder = bundled
    locked = published(source, "org/engine", "1", "amd64", "arm64", layer_bytes=10_000)
    published(source, "org/engine", "1", "amd64", layer_bytes=10_000)
    assert bundle.write(components, ChartOptions(), folder, {image: locked}).changed
    assert (folder / bundle.IMAGES).read_text() == f"{image}@{locked}\n"
    assert not bundle.write(components, ChartOptions(), folder, {image: locked}).changed
    assert bundle.push(folder, f"{registries[1]}/mirror") == 1
    target = Registry(registries[1], BASIC)
    assert target.digest("mirror/org/engine", "1") == locked
    assert bundle.push(folder, f"{registries[1]}/mirror") == 0


def test_what_no_image_needs_any_more_leaves_the_bundle(bundled):
    source, image, components, folder = bundled
    old = published(source, "org/engine", "1", "amd64", layer_bytes=10_000)
    bundle.write(components, ChartOptions(), folder, {image: old})
    before = {file.name for file in folder.glob("images/blobs/sha256/*")}
    new = published(source, "org/engine", "1", "amd64", layer_bytes=10_000)
    bundle.write(components, ChartOptions(), folder, {})
    after = {file.name for file in folder.glob("images/blobs/sha256/*")}
    assert new.removeprefix("sha256:") in after
    assert len(after & before) == 1, "both have the same configuration"
    assert bundle.verify(folder) == len(after) + 3


def test_a_flipped_bit_of_an_image_is_refused(registries, bundled):
    source, image, components, folder = bundled
    digest = published(source, "org/engine", "2", "amd64", layer_bytes=10_000)
    bundle.write(components, ChartOptions(), folder, {image: digest})
    layer = max(folder.glob("images/blobs/sha256/*"), key=lambda file: file.stat().st_size)
    content = bytearray(layer.read_bytes())
    content[100] ^= 1
    layer.write_bytes(content)
    with pytest.raises(bundle.BundleError, match=f"{layer.name} was changed"):
        bundle.push(folder, f"{registries[1]}/mirror")
