# SPDX-License-Identifier: Apache-2.0
"""Our programs, as a playbook starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
IMPORTS = """
import json
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
print(json.dumps({"changed": False, "found": [AWSRetry.__name__, LlmOnEksError.__name__]}))
"""


@pytest.mark.programs
def test_a_program_finds_the_collections_that_ansible_has(tmp_path):
    """Wherever it is started: nothing but Ansible knows where amazon.aws is installed."""
    task = {"llm.on_eks.program": {"argv": ["{{ ansible_playbook_python }}", "-c", IMPORTS], "chdir": str(tmp_path)}}
    shown = {"ansible.builtin.debug": {"msg": "{{ done.answer.found | join(' ') }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{**task, "register": "done"}, shown]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"]
    said = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert "msg: AWSRetry LlmOnEksError" in said.stdout, said.stdout + said.stderr
