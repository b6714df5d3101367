# SPDX-License-Identifier: Apache-2.0
"""Images reach a registry that asks for a password, which no command line ever shows; what is there is not pushed again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import bundle
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.ecr import Ecr, Login
from tests.support.emulated_aws import REGION, EmulatedAws
from tests.support.image_registry import Registry
from tools.debian import install_missing
from tools.images import sbom
from tools.images.build import Plan
from tools.images.buildah import open_store
from tools.images.catalog import Image
from tools.images.errors import ImageError
from tools.images.push import AccountsEcr, login_file, mirror, upload


@pytest.fixture
def registry():
    made = Registry()
    yield made
    made.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(buildah, plan) of an image with one file."""
    install_missing({"buildah": "buildah"})
    folder = tmp_path_factory.mktemp("images")
    buildah = open_store(folder / "store")
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY hello /hello\n")
    (context / "hello").write_text("hello\n")
    one = Plan(Image("gateway", "context"), "localhost/llm.on_eks/gateway:sha256-1", {}, folder / "gateway.tar")
    buildah.build(one.ref, context, {}, {}, [])
    buildah.archive(one.ref, one.archive)
    return buildah, one


@pytest.fixture(scope="module")
def account():
    """(the emulated account, its registry): ECR's API, and a registry that is as strict as ECR's."""
    made: list[EmulatedAws] = []

    def repositories():
        found = made[0].client("ecr").describe_repositories()["repositories"]
        return {row["repositoryName"] for row in found}

    registry = Registry(password="123456789012-auth-token", repositories=repositories)
    with EmulatedAws("--registry", f"http://{registry.host}") as aws:
        made.append(aws)
        yield aws, registry
    registry.close()


def own(aws):
    return Ecr(Connection(aws.client, REGION), "account", 30)


def ecr(aws):
    return AccountsEcr(own(aws))


def test_an_image_is_pushed_with_the_password(registry, built):
    buildah, one = built
    upload(buildah, one, f"{registry.host}/llm.on_eks/gateway:1", Login(registry.host, registry.auth, plain_http=True))
    manifest = json.loads(registry.tags["llm.on_eks/gateway:1"])
    assert all(layer["digest"] in registry.blobs for layer in [manifest["config"], *manifest["layers"]])


def test_a_wrong_password_is_one_sentence_without_it(registry, built):
    buildah, one = built
    with pytest.raises(ImageError, match="pushing ") as refused:
        upload(buildah, one, f"{registry.host}/x:1", Login(registry.host, "d3Jvbmc6d3Jvbmc=", plain_http=True))
    assert "d3Jvbmc6d3Jvbmc" not in str(refused.value) and registry.tags == {}


def test_no_command_line_shows_the_password(registry, built):
    buildah, one = built
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(process.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        upload(buildah, one, f"{registry.host}/y:1", Login(registry.host, registry.auth, plain_http=True))
    finally:
        done.set()
        watcher.join()
    assert any(b"docker://" in line for line in seen), "the push was seen"
    assert not [line for line in seen if registry.auth.encode() in line or b"secret-token" in line]


def test_an_image_that_left_the_store_comes_back_from_its_archive(registry, built, tmp_path):
    __, one = built
    empty = open_store(tmp_path / "store")
    upload(empty, one, f"{registry.host}/z:1", Login(registry.host, registry.auth, plain_http=True))
    assert "z:1" in registry.tags


def test_the_login_is_not_shown_and_leaves_no_file(registry):
    opened = Login("registry.test", "c2VjcmV0")
    assert "c2VjcmV0" not in repr(opened)
    with login_file(opened) as file:
        assert file.stat().st_mode & 0o777 == 0o600
    assert not file.exists()


def test_what_the_account_has_is_not_pushed_again(account, built):
    aws, registry = account
    __, one = built
    target = ecr(aws)
    assert not target.has("llm.on_eks/gateway", "sha256-1")
    target.prepare("llm.on_eks/gateway")
    upload(built[0], one, f"{registry.host}/llm.on_eks/gateway:sha256-1", target.login())
    assert target.has("llm.on_eks/gateway", "sha256-1")


def test_a_repository_is_made_with_tags_that_stay_scans_and_an_end_and_once(account):
    aws, __ = account
    target, client = ecr(aws), aws.client("ecr")
    for _again in range(2):
        target.prepare("llm.on_eks/vllm")
    [row] = client.describe_repositories(repositoryNames=["llm.on_eks/vllm"])["repositories"]
    assert row["imageTagMutability"] == "IMMUTABLE" and row["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = client.get_lifecycle_policy(repositoryName="llm.on_eks/vllm")["lifecyclePolicyText"]
    assert json.loads(policy)["rules"][0]["selection"]["countNumber"] == 30
    tags = {one["Key"]: one["Value"] for one in client.list_tags_for_resource(resourceArn=row["repositoryArn"])["tags"]}
    assert tags["llm.on_eks/cluster"] == "account"


def test_a_repository_of_someone_else_is_used_as_it_is(account):
    aws, __ = account
    client = aws.client("ecr")
    client.create_repository(repositoryName="theirs/vllm", imageTagMutability="MUTABLE")
    ecr(aws).prepare("theirs/vllm")
    [row] = client.describe_repositories(repositoryNames=["theirs/vllm"])["repositories"]
    assert row["imageTagMutability"] == "MUTABLE"


def test_an_image_is_mirrored_into_ecr_once_and_a_moved_tag_does_not_stop_the_next(account):
    aws, registry = account
    source = Registry(password="")
    reference = f"{source.host}/vllm/vllm-openai:v33"
    try:
        for content in (b"first", b"second"):
            wanted = {"vllm": f"{reference}@{source.published('vllm/vllm-openai', 'v33', content)}"}
            assert mirror(ecr(aws), wanted, "mirrored", check=True)[0]
            changed, found = mirror(ecr(aws), wanted, "mirrored", check=False)
            digest = wanted["vllm"].rpartition("@")[2]
            assert changed and found == {"vllm": f"{registry.host}/mirrored/vllm@{digest}"}
            assert mirror(ecr(aws), wanted, "mirrored", check=False) == (False, found)
            assert f"mirrored/vllm:v33-{digest[7:19]}" in registry.tags
    finally:
        source.close()


def test_a_bundles_images_go_into_ecr_under_their_publishers_paths(account, tmp_path):
    """A node's runtime asks a mirror for the path and the tag that a pod names."""
    aws, registry = account
    source = Registry(password="")
    reference = f"{source.host}/grafana/loki:3.5"
    digest = source.published("grafana/loki", "3.5", b"loki")
    try:
        described = parse([{"name": "loki", "images": [reference]}])
        bundle.write(described, ChartOptions(), tmp_path / "bundle", {reference: digest})
    finally:
        source.close()
    assert [bundle.push(tmp_path / "bundle", "ecr/mirror", ecr=own(aws)) for __ in range(2)] == [1, 0]
    assert "mirror/grafana/loki:3.5" in registry.tags
    [row] = aws.client("ecr").describe_repositories(repositoryNames=["mirror/grafana/loki"])["repositories"]
    assert row["imageTagMutability"] == "IMMUTABLE"


def test_without_the_right_to_it_ecr_is_one_sentence(account):
    aws, __ = account
    aws.admin("PUT", "denied", {"actions": ["ecr:GetAuthorizationToken"]})
    try:
        with pytest.raises(ImageError, match="does the caller have AmazonEC2ContainerRegistryPowerUser"):
            ecr(aws).login()
    finally:
        aws.admin("PUT", "denied", {"actions": []})


def test_what_an_image_contains_is_read_from_its_file_system(built, tmp_path):
    buildah, __ = built
    context = tmp_path / "context"
    status = context / "var/lib/dpkg/status"
    metadata = context / "opt/engine/lib/python3.12/site-packages/Our_Package-1.2.dist-info/METADATA"
    for file in (status, metadata):
        file.parent.mkdir(parents=True)
    here = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\nDescription: x\n more"
    status.write_text(f"{here}\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n")
    metadata.write_text("Metadata-Version: 2.1\nName: Our_Package\nVersion: 1.2\n\nName: of the description")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY var /var\nCOPY opt /opt\n")
    reference = "localhost/llm.on_eks/listed:sha256-2"
    buildah.build(reference, context, {}, {}, [], {"org.opencontainers.image.title": "listed"})
    with buildah.mounted(reference) as root:
        said = sbom.document("listed", reference, sbom.packages(root))
    assert [one["purl"] for one in said["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64",
        "pkg:pypi/our-package@1.2",
    ]
    assert (said["bomFormat"], said["metadata"]["component"]["version"]) == ("CycloneDX", "sha256-2")
    assert "org.opencontainers.image.title" in buildah.run(["inspect", "--type", "image", reference], "inspecting")
