# SPDX-License-Identifier: Apache-2.0
"""Jobs as AWX runs them: ansible-runner with the private data folder that AWX makes, on an emulated account.

Sources of that folder's form: awx/main/tasks/jobs.py (`build_inventory`, `build_extra_vars_file`, `build_env`) of AWX 24. The Python is one that has
only what an execution environment has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.content_cache import cache_root
from tests.support.described import IMAGES
from tests.support.emulated_aws import KEYS, EmulatedAws

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import extra_venv  # noqa: E402

pytestmark = pytest.mark.full
# Planted where secrets go in AWX: a credential's environment. None may appear in what a job says.
CANARIES = {f"LLM_CANARY_{number}": f"canary-{number:02}-5f2d7c" for number in range(21)}


class Unsafe(str):
    """What AWX marks !unsafe: answers, and everything else that a person gave at the launch."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value)))


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws() as made:
        yield made


@pytest.fixture(scope="module")
def programs():
    return extra_venv.obtain("quality", cache_root()) / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory, aws):
    """The project as Git would have it, with what only its owner knows filled in."""
    folder = tmp_path_factory.mktemp("awx") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPO / name).exists() or (REPO / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name, follow_symlinks=False)
    dev = folder / "inventories" / "dev" / "group_vars"
    answers = {
        "platform_state_bucket": "",
        "cluster_public_access_cidrs": ["203.0.113.7/32"],
        "platform_images": IMAGES,
    }
    for file in dev.rglob("*.yml"):
        known = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({key: answers.get(key, value) for key, value in known.items()}))
    shutil.copy(REPO / "inventories/local/group_vars/eks_clusters/skipped.yml", dev / "eks_clusters" / "skipped.yml")
    given = {"platform_aws_endpoint_url": aws.url, "platform_aws_region": "us-west-2"}
    (dev / "all.yml").write_text((dev / "all.yml").read_text() + yaml.safe_dump({**given, "platform_front_door": ""}))
    return folder


class Jobs:
    """Runs playbooks of a project as jobs."""

    def __init__(self, project: Path, programs: Path) -> None:
        self.project, self.programs, self.number = project, programs, 0

    def environment(self, home: Path) -> dict[str, str]:
        """What a job has of its credentials. Collections are where an execution environment has them."""
        collections = home / ".ansible" / "collections"
        if not collections.exists():
            collections.parent.mkdir(parents=True, exist_ok=True)
            collections.symlink_to(REPO / ".venv" / "collections")
        keys = {name.upper(): value for name, value in KEYS.items()}
        return {
            "HOME": str(home),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            **keys,
            **CANARIES,
        }

    def inventory(self, source: str) -> str:
        """The script that AWX writes for the hosts which it took from a source."""
        command = [self.programs / "ansible-inventory", "-i", source, "--list", "--export"]
        home = self.project.parent / "home"
        done = subprocess.run(
            command, cwd=self.project, env=self.environment(home), capture_output=True, text=True, check=True
        )
        return f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({done.stdout!r})\n"

    def run(self, playbook: str, extra_vars=None, answers=None, arguments=(), check=True):
        """(what was said, what the job hands on) of a job."""
        self.number += 1
        private = self.project.parent / f"job_{self.number}"
        for folder in ("inventory", "env", "artifacts"):
            (private / folder).mkdir(parents=True)
        shutil.copytree(self.project, private / "project", symlinks=True)
        hosts = private / "inventory" / "hosts"
        hosts.write_text(self.inventory("inventories/dev/hosts.yml"))
        hosts.chmod(hosts.stat().st_mode | stat.S_IXUSR)
        launched = {key: Unsafe(value) if isinstance(value, str) else value for key, value in (answers or {}).items()}
        lock = {"platform_lock_file": "inventories/dev/release.lock.yml", "registry_images_file": ""}
        variables = {**lock, **(extra_vars or {}), **launched}
        (private / "env" / "extravars").write_text(yaml.dump(variables, Dumper=_Dumper))
        (private / "env" / "cmdline").write_text(" ".join(arguments))
        command = [self.programs / "ansible-runner", "run", private, "-p", playbook, "--ident", "1"]
        done = subprocess.run(
            command, env=self.environment(private / "home"), capture_output=True, text=True, check=False, timeout=500
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is check, said[-4000:]
        events = [json.loads(file.read_text()) for file in private.glob("artifacts/1/job_events/*.json")]
        whole = said + json.dumps(events)
        assert [value for value in CANARIES.values() if value in whole] == []
        stats = [event["event_data"].get("artifact_data") for event in events if event["event"] == "playbook_on_stats"]
        return said, (stats[0] if stats else None) or {}


@pytest.fixture(scope="module")
def jobs(project, programs):
    return Jobs(project, programs)


@pytest.fixture(scope="module")
def planned(jobs):
    return jobs.run("playbooks/plan.yml", {"plan_artifact": True})


def carried_out(*command, **options):
    """A command that must end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_checkout_installed_collection_and_job_make_the_same_plan(planned, jobs, project, programs, tmp_path):
    env = jobs.environment(tmp_path / "home")
    play = [programs / "ansible-playbook", "-i", project / "inventories" / "dev"]
    checkout, elsewhere = tmp_path / "checkout.json", tmp_path / "installed.json"
    carried_out(*play, "playbooks/plan.yml", "-e", f"plan_out={checkout}", cwd=project, env=env)
    galaxy = [programs / "ansible-galaxy", "collection"]
    # Not in a checkout, whose ansible.cfg says that the collection is there already.
    carried_out(*galaxy, "build", project, "--output-path", tmp_path, cwd=tmp_path, env=env)
    (archive,) = tmp_path.glob("*.tar.gz")
    carried_out(
        *galaxy, "install", archive, "-p", tmp_path / "installed", "--no-deps", "--offline", cwd=tmp_path, env=env
    )
    paths = {"ANSIBLE_COLLECTIONS_PATH": f"{tmp_path / 'installed'}:{REPO / '.venv' / 'collections'}"}
    carried_out(*play, "llm.on_eks.plan", "-e", f"plan_out={elsewhere}", cwd=tmp_path, env={**env, **paths})
    _, artifacts = planned
    job = artifacts["plan_artifacts"]["llm-dev"]
    assert job.strip() == checkout.read_text().strip()
    assert checkout.read_bytes() == elsewhere.read_bytes()
    assert len(json.loads(job)["actions"]) > 50


def test_the_job_that_carries_it_out_would_do_the_same(planned, jobs):
    """What `apply` compares with is what `plan` handed on."""
    _, artifacts = planned
    said, _ = jobs.run("site.yml", arguments=["--limit", "eks_clusters", "--check"])
    assert json.loads(artifacts["plan_artifacts"]["llm-dev"])["digest"][:19] in said


def test_a_plan_that_no_longer_holds_is_refused_in_the_job_after_it(planned, jobs, aws):
    _, artifacts = planned
    before = aws.client("ec2").describe_vpcs()["Vpcs"]
    # Somebody changed the inventory between the plan and its approval.
    said, _ = jobs.run(
        "site.yml",
        {"plan_required": True, "network_cidr": "10.77.0.0/16", **artifacts},
        arguments=["--limit", "eks_clusters"],
        check=False,
    )
    assert "the plan is stale: network is described differently" in said.replace("\n", " "), said[-2000:]
    assert "TASK [Verify]" not in said
    assert aws.client("ec2").describe_vpcs()["Vpcs"] == before


def test_an_apply_without_a_plan_is_refused(jobs):
    said, _ = jobs.run("site.yml", {"plan_required": True}, arguments=["--limit", "eks_clusters"], check=False)
    assert "no plan for llm-dev came from the job before" in said


@pytest.mark.parametrize(
    "evil",
    [
        "{{ lookup('ansible.builtin.pipe', 'touch EVIL') }}",
        "llm-dev\nplatform_protected: false",
        "--extra-vars=@/etc/passwd",
        "{{ 7 * 7 }}",
    ],
)
def test_free_text_stays_text(jobs, evil, tmp_path):
    evil = evil.replace("EVIL", str(tmp_path / "evil"))
    said, _ = jobs.run("destroy.yml", answers={"platform_confirm": evil, "change_reason": evil}, check=False)
    assert not (tmp_path / "evil").exists()
    assert re.search(r"platform_confirm is .*; nothing was removed", said.replace("\n", " ")), said[-2000:]
    assert "49" not in said.split("platform_confirm is")[1][:20]


def test_a_lock_check_a_status_and_a_drift_job_end_in_sentences(jobs):
    said, _ = jobs.run("playbooks/lock.yml", arguments=["--check"])
    assert "nothing moved" in said or "moved" in said
    for playbook in ("playbooks/status.yml", "playbooks/drift.yml"):
        said, _ = jobs.run(playbook, check=False)
        assert "Traceback" not in said
        assert "llm-dev" in said
