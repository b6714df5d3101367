# SPDX-License-Identifier: Apache-2.0
"""A stranger with AWX: one playbook, one survey, one approval, an answered completion; then day two, by the same job templates.

AWX's API is a double (tests/support/awx_double.py); what the playbook made in it is run by ansible-runner, and the cluster is a local one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import awx_jobs
from tests.support.awx_double import ADMIN, AwxDouble
from tests.support.cluster_names import cluster_name
from tests.support.content_cache import cache_root
from tests.support.local_platform import LocalPlatform, inventory

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import execution_environment, extra_venv  # noqa: E402

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    return inventory(cluster_name("awx"), tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def awx(platform):
    """AWX after `ansible-playbook playbooks/awx.yml`."""
    collections = execution_environment.collections(cache_root())["awx.awx"].parents[2]
    environments = [{"name": "local", "inventory": str(platform.inventory.parent)}]
    given = {"awx_config_environments": environments, "awx_config_image": "registry.example.com/ee:1"}
    with AwxDouble() as double:
        environment = {
            **os.environ,
            "CONTROLLER_HOST": double.url,
            "CONTROLLER_OAUTH_TOKEN": ADMIN,
            "ANSIBLE_COLLECTIONS_PATH": f"{REPO / 'collections'}:{collections}",
        }
        command = [Path(sys.executable).parent / "ansible-playbook", "playbooks/awx.yml", "-e", json.dumps(given)]
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        yield double.awx


@pytest.fixture(scope="module")
def jobs(awx, platform, tmp_path_factory):
    programs = extra_venv.obtain("quality", cache_root()) / "bin"
    project = awx_jobs.project(tmp_path_factory.mktemp("awx") / "project")
    source = str(platform.inventory)
    credentials = {"LLM_ON_EKS_CACHE": str(cache_root())}
    return awx_jobs.Jobs(project, programs, REPO / ".venv" / "collections", source, credentials)


def template(awx, name):
    return next(row for row in awx.rows["job_templates"].values() if row["name"] == f"llm local {name}")


def launch(awx, jobs, name, answers=None, **options):
    """Launch a job template as a person does: its survey decides which answers count."""
    row = template(awx, name)
    return jobs.run(row, awx.launch(row["id"], answers or {})["extra_vars"], **options)


@pytest.fixture(scope="module")
def running(awx, jobs, platform):
    """The platform, put there by a job, and removed by one."""
    yield launch(awx, jobs, "site")
    launch(awx, jobs, "destroy", {"platform_confirm": platform.name})


def replicas(platform: LocalPlatform) -> str:
    return platform.kubectl("-n", "llm-engines", "get", "deployment", "engine-tiny", "-o", "jsonpath={.spec.replicas}")


def test_the_first_job_ends_with_an_answered_completion(running):
    assert "tiny" in running.said
    assert "failed=0" in running.said


def test_a_change_waits_for_its_approval_and_is_then_carried_out_as_planned(running, awx, jobs, platform):
    variables = platform.inventory.parent / "host_vars" / f"{platform.name}.yml"
    wanted = yaml.safe_load(variables.read_text())
    wanted["model_catalog"][0]["replicas"] = {"min": 1, "max": 1}
    variables.write_text(yaml.safe_dump(wanted))
    (workflow,) = awx.rows["workflow_job_templates"].values()
    answers = awx.launch(workflow["id"], {"change_reason": "one replica is enough"})["extra_vars"]
    nodes = {row["identifier"]: row for row in awx.rows["workflow_job_template_nodes"].values()}
    artifacts: dict[str, object] = {}
    done, step = [], "preflight"
    while step:
        row = awx.rows["job_templates"].get(nodes[step]["unified_job_template"])
        if row:
            job = jobs.run(row, {**artifacts, **answers})
            artifacts |= job.artifacts
            print(f"{step}: {job.seconds:.0f} s")
        else:
            # Until somebody approves, nothing has changed.
            assert replicas(platform) == "2"
        done.append(step)
        following = awx.links.get(("workflow_job_template_nodes", nodes[step]["id"], "success_nodes"), [])
        step = next((name for name, node in nodes.items() if node["id"] in following), "")
    assert done == ["preflight", "plan", "approval", "apply", "verify"]
    assert replicas(platform) == "1"
    # The last step asked the model.
    assert re.search(r"tiny answered at \S+: .+ →", " ".join(job.said.split()))


def test_day_two_by_job_templates(running, awx, jobs):
    assert "healthy" in launch(awx, jobs, "status").said
    launch(awx, jobs, "model", {"platform_only": "engine-tiny"})
    launch(awx, jobs, "rollback", {"rollback_component": "engine-tiny"})
    # The inventory says otherwise now.
    assert "replicas" in launch(awx, jobs, "drift", check=False).said
    launch(awx, jobs, "site", {"platform_only": ["engine-tiny"]})
    launch(awx, jobs, "drift")
