# SPDX-License-Identifier: Apache-2.0
"""The execution environment as an image: built from a Debian base that is made here, pushed and pulled, and runs of the collection in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import awx_jobs
from tests.support.content_cache import cache_root
from tests.support.described import IMAGES
from tests.support.emulated_aws import KEYS, EmulatedAws
from tests.support.image_registry import Registry

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import execution_environment, extra_venv  # noqa: E402
from tools.images import base  # noqa: E402
from tools.images.errors import ImageError  # noqa: E402

# Layers that are not kept yet cost ten minutes and more.
pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]
IMAGE = "localhost/llm.on_eks/execution-environment:test"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A running container of the image, as a function: command → what it says."""
    cache, context = cache_root(), tmp_path_factory.mktemp("ee") / "context"
    programs = extra_venv.obtain("quality", cache) / "bin"
    execution_environment.collect(cache, programs)
    execution_environment.create(programs, context)
    buildah = execution_environment.build_here(IMAGE, context, base.choose(cache / "images", "debootstrap"), cache)
    container = buildah.run(["from", "--pull-never", IMAGE], "starting").split()[-1]

    def run(*command, volumes=(), environment=None):
        options = [item for volume in volumes for item in ("--volume", volume)]
        options += [item for key, value in (environment or {}).items() for item in ("--env", f"{key}={value}")]
        # As AWX runs it: a user without rights, in group 0.
        user = ("--isolation", "chroot", "--user", "1000:0", "--env", "HOME=/runner")
        return buildah.run(["run", *user, *options, container, "--", *command], "running")

    run.buildah = buildah
    yield run
    buildah.run(["rm", container], "removing")


def test_it_has_what_jobs_need_and_nothing_of_this_machine(image):
    assert json.loads(image("ansible-galaxy", "collection", "list", "--format", "json"))
    listed = image("ansible-galaxy", "collection", "list")
    wanted = [
        *yaml.safe_load((REPO / "requirements.yml").read_text())["collections"],
        {"name": "llm.on_eks", "version": "1.0.0"},
    ]
    assert [
        one["name"]
        for one in wanted
        if not any(one["name"] in line and one["version"] in line for line in listed.splitlines())
    ] == []
    assert "v" in image("helm", "version", "--short")
    assert "Client Version" in image("kubectl", "version", "--client")
    image("git", "--version")
    packages = image("/usr/local/bin/python3", "-m", "pip", "list", "--format", "freeze")
    assert "ansible-runner==2.4.3" in packages
    assert "moto" not in packages
    # How pip was reached in the build.
    assert image("sh", "-c", "test -s /etc/pip.conf && cat /etc/pip.conf || true").strip() == ""


def test_awx_can_pull_it(image, tmp_path):
    registry = Registry()
    try:
        auth = tmp_path / "auth.json"
        auth.write_text(json.dumps({"auths": {registry.host: {"auth": registry.auth}}}))
        name = f"{registry.host}/llm/ee:1"
        image.buildah.push(IMAGE, name, auth, plain_http=True)
        manifest = json.loads(registry.tags["llm/ee:1"])
        assert all(layer["digest"] in registry.blobs for layer in [manifest["config"], *manifest["layers"]])
        with pytest.raises(ImageError):
            image.buildah.push(IMAGE, name, tmp_path / "none.json", plain_http=True)
    finally:
        registry.close()


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_dry_run_of_the_whole_platform_runs_in_it(image, environment, tmp_path):
    """The playbook is that of the collection in the image; only the inventory comes from outside."""
    inventory = tmp_path / environment
    shutil.copytree(REPO / "inventories" / environment, inventory)
    folder = inventory / "group_vars" / "eks_clusters"
    folder.mkdir(exist_ok=True)
    # Charts come from elsewhere. The last file counts.
    shutil.copy(REPO / "inventories/local/group_vars/eks_clusters/skipped.yml", folder / "zz_skipped.yml")
    subprocess.run(["chmod", "-R", "a+rX", tmp_path.parent, tmp_path], check=True)
    answers = {
        "platform_state_bucket": "",
        "cluster_public_access_cidrs": ["203.0.113.7/32"],
        "platform_images": IMAGES,
        "platform_front_door": "",
        "cluster_admins": ["arn:aws:iam::123456789012:role/platform"],
        "platform_protected": False,
        "model_catalog": [],
    }
    with EmulatedAws() as aws:
        # As playbooks/account.yml does.
        aws.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        given = {**answers, "platform_aws_endpoint_url": aws.url, "platform_aws_region": "us-west-2"}
        keys = {name.upper(): value for name, value in KEYS.items()}
        said = image(
            *("ansible-playbook", "-i", "/inventory", "llm.on_eks.site", "--check", "-e", json.dumps(given)),
            volumes=[f"{inventory}:/inventory:ro"],
            environment={**keys, **awx_jobs.CANARIES, "ANSIBLE_NOCOLOR": "1"},
        )
        assert aws.client("eks").list_clusters()["clusters"] == []
    assert f"llm-{environment}" in said
    assert "failed=0" in said
    assert [value for value in awx_jobs.CANARIES.values() if value in said] == []
