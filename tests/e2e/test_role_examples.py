# SPDX-License-Identifier: Apache-2.0
"""Each role alone, as its README has it, in check mode: it plans what it would do, or says in one sentence what is missing."""

from __future__ import annotations

import re

import pytest

from tests.support.local_platform import REPO, recap

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(1800)]
# These need something else than a cluster: tests/unit/test_awx_config.py has an AWX, tests/integration/test_account_playbook.py an account's host.
ELSEWHERE = {"awx_config", "registry"}
ROLES = sorted(file.parent.name for file in REPO.glob("roles/*/README.md") if file.parent.name not in ELSEWHERE)
# No chart is locked in a test; a run says so before it changes anything.
NOT_LOCKED = r"component [\w-]+: chart [\w-]+ [\w.-]+ is not in \S+; lock it with `ansible-playbook playbooks/lock.yml`"
# What the platform of these tests has: alone, they are described as site.yml describes them, so there is nothing to do.
RUNNING = {
    "cluster",
    "engine_llamacpp",
    "gateway",
    "identity",
    "models",
    "network",
    "node_groups",
    "storage_ebs",
    "storage_efs",
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_alone_as_its_readme_has_it(platform, tmp_path, role):
    text = re.search(r"## Example.*?```yaml\n(.*?)```", (REPO / "roles" / role / "README.md").read_text(), re.DOTALL)[1]
    play = tmp_path / "play.yml"
    play.write_text(text)
    done = platform.playbook(str(play), "--check", "--diff", check=False)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert done.returncode == 0 or re.search(NOT_LOCKED, " ".join(said.split())), said[-4000:]
    assert role not in RUNNING or recap(done.stdout)["changed"] == 0
