# SPDX-License-Identifier: Apache-2.0
"""The AWS modules as users run them: packed and sent by Ansible, with a group's defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.emulated_aws import EmulatedAws

REPO = Path(__file__).resolve().parents[2]
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


def test_modules_are_packed_with_what_they_need_and_a_second_run_changes_nothing(aws, tmp_path):
    play = tmp_path / "play.yml"
    play.write_text(PLAY.format(url=aws.url))
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", str(play)]
    environment = {
        **aws.environment(),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    recaps = []
    for _ in range(2):
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        recaps.append(done.stdout.split("PLAY RECAP")[1])
    assert "changed=1" in recaps[0] and "changed=0" in recaps[1]
    systems = aws.client("efs").describe_file_systems()["FileSystems"]
    assert [(row["Name"], row["ThroughputMode"]) for row in systems] == [("models", "elastic")]
