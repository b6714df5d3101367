# SPDX-License-Identifier: Apache-2.0
"""The worked examples of inventories/prod: taking the comment marks away is all that a user has to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.emulated_aws import REGION, REPO, EmulatedAws
from tests.support.prod_examples import entry, examples, inventory

# What only an owner of the account knows.
ANSWERS = {
    "platform_state_bucket": "",
    "platform_images": {
        "gateway": "localhost/gateway:1",
        "llamacpp": "localhost/llamacpp:1",
        "model_store": "localhost/store:1",
    },
    "cluster_public_access_cidrs": ["203.0.113.7/32"],
    "cluster_admins": ["arn:aws:iam::123456789012:role/platform"],
    "engine_tgw_image": "localhost/tgw:1",
    # No test asks a hub on the internet, or takes charts from repositories.
    "models_check_sources": False,
    **{
        f"{system}_state": "skip"
        for system in (
            *("load_balancer_controller", "gateway_api", "kong", "karpenter", "accelerators", "prometheus", "loki"),
            *("keda", "cost", "console", "network_policies", "pod_security"),
        )
    },
}
ALL = list(examples())


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with EmulatedAws("--state", str(tmp_path_factory.mktemp("aws"))) as account:
        # A new account has room for one small one; the walk-through's machine wants 96 vCPUs.
        account.admin("PUT", f"quotas/{REGION}/L-1945791B", {"value": 192})
        yield account


def checked(aws, folder, *names):
    """What `site.yml --check` says of production with these models too."""
    environment = {
        **aws.environment(),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "4000",
        "HF_HOME": str(folder),
        "HF_TOKEN": "",
    }
    command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "site.yml", "--check", "--diff"]
    command += ["-i", str(inventory(folder, *names)), "-l", "eks_clusters"]
    command += ["-e", json.dumps({**ANSWERS, "platform_aws_endpoint_url": aws.url})]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def test_a_common_model_needs_no_seventh_line():
    assert {name: len(entry(name)) for name in ALL if len(entry(name)) > 6} == {}
    assert {(entry(name)["engine"], entry(name).get("task", "generate")) for name in ALL} == {
        ("vllm", "generate"),
        ("vllm", "embed"),
        ("tgw", "generate"),
    }


@pytest.mark.timeout(900)
def test_all_of_them_at_once_are_planned_whole(aws, tmp_path):
    said = checked(aws, tmp_path, *ALL)
    for name in ALL:
        slug = name.replace(".", "-")
        assert f"Deployment llm-engines/engine-{slug}" in said
        assert "Job llm-engines/" in said
    assert "0 failed" in said or "failed=0" in said


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ALL)
def test_each_of_them_alone_is_planned_whole(aws, tmp_path, name):
    said = checked(aws, tmp_path, name)
    assert f"Deployment llm-engines/engine-{name.replace('.', '-')}" in said
