# SPDX-License-Identifier: Apache-2.0
"""Every job template's playbook as AWX runs it (tests/support/awx_jobs.py), on an emulated account without a cluster.

tests/e2e/test_awx_change.py runs those that need one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Registry
from tests.support import awx_jobs, docker_registry, galaxy, image_registry
from tests.support.awx_objects import templates
from tests.support.content_cache import cache_root
from tests.support.described import IMAGES
from tests.support.emulated_aws import KEYS, EmulatedAws

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tools import extra_venv  # noqa: E402

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
TEMPLATES = templates("dev")
# What a person may write into the one free text that a playbook reads; each wants to be more than a text.
EVIL = [
    "{{ lookup('ansible.builtin.pipe', 'touch EVIL') }}",
    "{% set x = lookup('pipe', 'touch EVIL') %}llm-dev",
    "{{ 7 * 7 }}",
    "{{ platform_cluster_name }}",
    "{{ hostvars | to_json }}",
    "llm-dev -e platform_protected=false",
    "--extra-vars=@/etc/passwd",
    "-e platform_confirm=llm-dev",
    "@/etc/passwd",
    "@env/extravars",
    "llm-dev\nplatform_protected: false",
    "llm-dev\r\n",
    " llm-dev",
    '{"platform_cluster_name": "llm-dev"}',
    '["llm-dev"]',
    "!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162",
    "!unsafe llm-dev",
    "!!python/object/apply:os.system ['touch EVIL']",
    "$(touch EVIL); `touch EVIL`",
    "${HOME}\x1b[2J",
]


@pytest.fixture(scope="module")
def aws():
    registry = image_registry.Registry(password="123456789012-auth-token")
    with EmulatedAws("--registry", f"http://{registry.host}") as made:
        yield made
    registry.close()


@pytest.fixture(scope="module")
def base_image(tmp_path_factory):
    """What our images stand on, in a registry that answers here."""
    process, host = docker_registry.started(tmp_path_factory.mktemp("registry") / "data")
    docker_registry.published(Registry(host), "library/python", "3.12-slim", "amd64")
    yield f"{host}/library/python:3.12-slim"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def programs():
    return extra_venv.obtain("quality", cache_root()) / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory, aws, base_image):
    """The project as Git would have it, with what only its owner knows filled in."""
    folder = awx_jobs.project(tmp_path_factory.mktemp("awx") / "project")
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
    given = {"platform_aws_endpoint_url": aws.url, "platform_aws_region": "us-west-2", "registry_push_base": base_image}
    (dev / "all.yml").write_text((dev / "all.yml").read_text() + yaml.safe_dump({**given, "platform_front_door": ""}))
    return folder


@pytest.fixture(scope="module")
def jobs(project, programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sync")
    installed = REPO / ".venv" / "collections" / "ansible_collections"
    names = ("amazon.aws", "kubernetes.core")
    archives = {name: galaxy.packed(installed / name.replace(".", "/"), folder / f"{name}.tar.gz") for name in names}
    with galaxy.serving(archives) as address:
        collections = awx_jobs.synced(project, programs, address, folder)
    keys = {name.upper(): value for name, value in KEYS.items()}
    made = awx_jobs.Jobs(project, programs, collections, "inventories/dev/hosts.yml", keys)
    env = {**made.environment(folder), "ANSIBLE_COLLECTIONS_PATH": f"collections:{collections}"}
    # Its owner has committed the lock file.
    lock = ("-i", project / "inventories" / "dev", "playbooks/lock.yml")
    carried_out(programs / "ansible-playbook", *lock, cwd=project, env=env)
    return made


@pytest.fixture(scope="module")
def planned(jobs):
    return jobs.run(TEMPLATES["plan"])


def carried_out(*command, **options):
    """A command that must end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def one_line(job):
    return " ".join(job.said.split())


def test_the_project_brings_its_collections_at_their_versions(jobs):
    wanted = yaml.safe_load((REPO / "requirements.yml").read_text())["collections"]
    for one in wanted:
        manifest = jobs.collections / "ansible_collections" / one["name"].replace(".", "/") / "MANIFEST.json"
        assert json.loads(manifest.read_text())["collection_info"]["version"] == one["version"]


def test_checkout_installed_collection_and_job_make_the_same_plan(planned, jobs, project, programs, tmp_path):
    env = {**jobs.environment(tmp_path), "ANSIBLE_COLLECTIONS_PATH": f"collections:{jobs.collections}"}
    play = [programs / "ansible-playbook", "-i", project / "inventories" / "dev"]
    checkout, elsewhere = tmp_path / "checkout.json", tmp_path / "installed.json"
    carried_out(*play, "playbooks/plan.yml", "-e", f"plan_out={checkout}", cwd=project, env=env)
    collection = [programs / "ansible-galaxy", "collection"]
    # Not in a checkout, whose ansible.cfg says that the collection is there already.
    carried_out(*collection, "build", project, "--output-path", tmp_path, cwd=tmp_path, env=env)
    (archive,) = tmp_path.glob("*.tar.gz")
    target = tmp_path / "installed"
    carried_out(*collection, "install", archive, "-p", target, "--no-deps", "--offline", cwd=tmp_path, env=env)
    paths = {"ANSIBLE_COLLECTIONS_PATH": f"{target}:{jobs.collections}"}
    carried_out(*play, "llm.on_eks.plan", "-e", f"plan_out={elsewhere}", cwd=tmp_path, env={**env, **paths})
    job = planned.artifacts["plan_artifacts"]["llm-dev"]
    assert job.strip() == checkout.read_text().strip()
    assert checkout.read_bytes() == elsewhere.read_bytes()
    assert len(json.loads(job)["actions"]) > 50


def test_the_job_that_carries_it_out_would_do_the_same(planned, jobs):
    """What `apply` compares with is what `plan` handed on."""
    job = jobs.run(TEMPLATES["apply"], planned.artifacts, ["--check"])
    assert json.loads(planned.artifacts["plan_artifacts"]["llm-dev"])["digest"][:19] in job.said


def test_a_plan_that_no_longer_holds_is_refused_in_the_job_after_it(planned, jobs, aws):
    before = aws.client("ec2").describe_vpcs()["Vpcs"]
    # Somebody changed the inventory between the plan and its approval.
    changed = {"network_cidr": "10.77.0.0/16"}
    job = jobs.run(TEMPLATES["apply"], {**planned.artifacts, **changed}, check=False)
    assert "the plan is stale: network is described differently" in one_line(job)
    assert "TASK [Verify]" not in job.said
    assert aws.client("ec2").describe_vpcs()["Vpcs"] == before


def test_an_apply_without_a_plan_is_refused(jobs):
    job = jobs.run(TEMPLATES["apply"], check=False)
    assert "no plan for llm-dev came from the job before" in one_line(job)


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_free_text_stays_text(jobs, evil, tmp_path):
    evil = evil.replace("EVIL", str(tmp_path / "evil"))
    job = jobs.run(TEMPLATES["destroy"], {"platform_confirm": evil, "change_reason": evil}, check=False)
    assert not (tmp_path / "evil").exists()
    assert re.search(r"platform_confirm is .*; nothing was removed", one_line(job)), job.said[-2000:]
    assert "49" not in job.said.split("platform_confirm is")[1][:20]


def test_a_preflight_job_says_what_it_costs(jobs):
    assert re.search(r"price [\d.]+ USD an hour", jobs.run(TEMPLATES["preflight"]).said)


def test_an_account_job_makes_what_the_account_has_once_and_then_nothing(jobs, aws):
    ours = {"platform_state_bucket": "our-records"}
    assert re.search(r"account +: ok=\d+ +changed=1", jobs.run(TEMPLATES["account"], ours).said)
    assert "our-records" in [row["Name"] for row in aws.client("s3").list_buckets()["Buckets"]]
    assert re.search(r"account +: ok=\d+ +changed=0", jobs.run(TEMPLATES["account"], ours).said)


def test_an_images_job_says_what_it_would_push(jobs):
    job = jobs.run(TEMPLATES["images"], more=["--check", "--diff"])
    assert re.search(r"gateway: \S+/llm\.on_eks/gateway:sha256-", job.said), job.said


def test_a_lock_job_says_what_moved_and_writes_nothing(jobs, project, base_image):
    lock = project / "inventories" / "dev" / "release.lock.yml"
    before = lock.read_bytes()
    assert "nothing moved" in jobs.run(TEMPLATES["lock"]).said
    host = base_image.partition("/")[0]
    docker_registry.published(Registry(host), "library/python", "3.12-slim", "amd64")
    assert re.search(r"library/python:3.12-slim.* → ", one_line(jobs.run(TEMPLATES["lock"])))
    assert lock.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("status", {}),
        ("drift", {}),
        ("verify", {}),
        ("rollback", {"rollback_component": "gateway"}),
        ("model", {"platform_only": "engine-gemma3-270m"}),
        ("site", {"platform_only": ["gateway"]}),
    ],
)
def test_a_job_on_a_cluster_that_is_not_there_ends_in_a_sentence(jobs, name, answers):
    """tests/support/awx_jobs.py refuses tracebacks and secrets in any job."""
    more = ["--check"] if name in ("model", "site") else []
    job = jobs.run(TEMPLATES[name], answers, more, check=None)
    assert "llm-dev" in job.said
