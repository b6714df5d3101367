# SPDX-License-Identifier: Apache-2.0
"""The AWS modules as users run them: packed and sent by Ansible, with a group's defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.emulated_aws import EmulatedAws, make_role, make_subnets

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools.module_docs import texts  # noqa: E402

GROUP = yaml.safe_load((REPO / "meta" / "runtime.yml").read_text())["action_groups"]["aws"]
PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/llm.on_eks.aws: {{region: us-west-2, endpoint_url: "{url}", access_key: local, secret_key: local}}
  tasks:
    - llm.on_eks.efs_file_system: {{name: models, tags: {{team: ml}}}}
    - llm.on_eks.service_quota_info: {{quota_codes: [L-DB2E81BA]}}
"""


@pytest.fixture
def aws():
    with EmulatedAws() as emulated:
        yield emulated


def run(aws, play, *arguments):
    command = [
        Path(sys.executable).parent / "ansible-playbook",
        "-i",
        "localhost,",
        "-c",
        "local",
        str(play),
        *arguments,
    ]
    environment = {
        **aws.environment(),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=900, check=False)


def test_modules_are_packed_with_what_they_need_and_a_second_run_changes_nothing(aws, tmp_path):
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(url=aws.url))
    recaps = []
    for __ in range(2):
        done = run(aws, play)
        assert done.returncode == 0, done.stdout + done.stderr
        recaps.append(done.stdout.split("PLAY RECAP")[1])
    assert "changed=1" in recaps[0] and "changed=0" in recaps[1]
    systems = aws.client("efs").describe_file_systems()["FileSystems"]
    assert [(row["Name"], row["ThroughputMode"]) for row in systems] == [("models", "elastic")]


def examples():
    """Every example of the modules for AWS: what makes the cluster first, what removes it last."""
    found = [
        task
        for name in GROUP
        for task in yaml.safe_load(texts(REPO / "plugins" / "modules" / f"{name}.py")["EXAMPLES"])
    ]

    def place(task):
        (options,) = [value or {} for key, value in task.items() if key.startswith("llm.on_eks.")]
        gone, cluster = options.get("state") == "absent", "llm.on_eks.eks_cluster" in task
        return gone, cluster == gone

    return sorted(found, key=place)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_every_example_of_the_modules_runs(aws, tmp_path):
    vpc, subnets = make_subnets(aws)
    group = aws.client("ec2").create_security_group(GroupName="efs", Description="efs", VpcId=vpc)["GroupId"]
    for role in ("demo-cluster", "demo-nodes", "demo-cni", "demo-karpenter", "platform-admin"):
        make_role(aws, role)
    files = aws.client("efs").create_file_system(CreationToken="given")["FileSystemId"]
    text = yaml.safe_dump(examples(), sort_keys=False)
    for ours, there in {
        "subnet-0a": subnets[0],
        "subnet-0b": subnets[1],
        "sg-0c": group,
        "fs-0123456789abcdef0": files,
    }.items():
        assert ours in text
        text = text.replace(ours, there)
    connection = {"region": "us-west-2", "endpoint_url": aws.url, "access_key": "local", "secret_key": "local"}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": {"group/llm.on_eks.aws": connection}}
    tasks = yaml.safe_load(text)
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "tasks": tasks}]))
    done = run(aws, tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok={len(tasks)} " in done.stdout
    assert aws.client("eks").list_clusters()["clusters"] == []
