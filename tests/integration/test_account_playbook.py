# SPDX-License-Identifier: Apache-2.0
"""On an emulated account, by Ansible: what all clusters of an account share (playbooks/account.yml), and a role of ours in a play of a user's."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.described import REPO, run
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws
from tests.support.image_registry import Registry
from tools.aws_permissions import allowed


@pytest.fixture(scope="module")
def account_of_all():
    registry = Registry(password="123456789012-auth-token")
    with EmulatedAws("--registry", f"http://{registry.host}") as made:
        yield made
    registry.close()


@pytest.fixture
def aws(account_of_all):
    """The account, where a deployer may do what is published."""
    yield account_of_all
    account_of_all.admin("PUT", "allowed", {"actions": PUBLISHED})


def way_in(aws, folder):
    """Variables that lead a run into the account."""
    keys = folder / "credentials"
    keys.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in KEYS.items()))
    return {"platform_aws_endpoint_url": aws.url, "platform_aws_credentials_file": str(keys)}


def account(aws, folder, *arguments, environment="dev", **variables):
    """(how many tasks changed something, what was said)."""
    given = {**way_in(aws, folder), "platform_state_bucket": "our-records", **variables}
    inventory = str(REPO / "inventories" / environment)
    done = run("-i", inventory, "playbooks/account.yml", "-e", json.dumps(given), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.search(r"account +: ok=\d+ +changed=(\d+)", done.stdout)[1]), done.stdout


PUBLISHED = sorted(allowed(json.loads((REPO / "docs/aws_permissions.json").read_text())))
DEPLOYERS = {
    "registry_deployer_principals": ["arn:aws:iam::123456789012:role/ci"],
    "registry_deployer_clusters": "ml-",
    "registry_deployer_buckets": ["weights"],
    "registry_deployer_boundary": "arn:aws:iam::123456789012:policy/most",
}


def documents_of(aws, role):
    """The managed policies of a role."""
    iam = aws.client("iam")
    found = []
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=version)["PolicyVersion"][
            "Document"
        ]
        found.append(document)
    return found


def test_an_account_has_it_once_for_all_inventories(aws, tmp_path):
    aws.admin("PUT", "allowed", {"actions": None})  # an administrator: a deployer may not make its own role
    assert account(aws, tmp_path, "--check", **DEPLOYERS)[0] == 1
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert account(aws, tmp_path, **DEPLOYERS)[0] == 1
    documents = documents_of(aws, "llm-deployer")
    assert sorted(action for one in documents for action in allowed(one)) == PUBLISHED
    text = json.dumps(documents)
    assert "role/ml-*" in text and "llm-*" not in text and "repository/llm.on_eks/*" in text
    bounded = [
        one for part in documents for one in part["Statement"] if "PermissionsBoundary" in str(one.get("Condition"))
    ]
    assert {action for one in bounded for action in one["Action"]} == {
        f"iam:{verb}" for verb in ("AttachRolePolicy", "CreateRole", "PutRolePermissionsBoundary", "PutRolePolicy")
    }
    buckets = [f"arn:*:s3:::{name}" for name in ("weights", "our-records", "weights/*", "our-records/*")]
    assert buckets in [statement["Resource"] for one in documents for statement in one["Statement"]]
    repositories = [row["repositoryName"] for row in aws.client("ecr").describe_repositories()["repositories"]]
    assert sorted(repositories) == ["llm.on_eks/gateway", "llm.on_eks/llamacpp", "llm.on_eks/model_store"]
    assert [row["Name"] for row in aws.client("s3").list_buckets()["Buckets"]] == ["our-records"]
    assert account(aws, tmp_path, environment="prod", **DEPLOYERS)[0] == 0, "another inventory of the account shares it"


def test_what_a_push_would_do_is_told_and_written_nowhere(aws, tmp_path):
    before = (REPO / "inventories/dev/group_vars/eks_clusters/images.yml").read_text()
    lock = tmp_path / "release.lock.yml"
    base = {"reference": "docker.io/library/python:3.12-slim", "digest": "sha256:" + "1" * 64}
    lock.write_text(json.dumps({"charts": [], "images": [base]}))
    __, said = account(aws, tmp_path, "--check", "--diff", registry_push=True, platform_lock_file=str(lock))
    assert re.search(r"gateway: [\d.:]+/llm\.on_eks/gateway:sha256-", said)
    assert (REPO / "inventories/dev/group_vars/eks_clusters/images.yml").read_text() == before


def test_an_image_is_made_of_a_locked_base_alone(aws, tmp_path):
    given = {**way_in(aws, tmp_path), "platform_state_bucket": "our-records", "registry_push": True}
    given["platform_lock_file"] = str(tmp_path / "none.yml")
    done = run("-i", str(REPO / "inventories/dev"), "playbooks/account.yml", "--check", "-e", json.dumps(given))
    assert done.returncode != 0
    assert "image docker.io/library/python:3.12-slim is not in" in done.stdout
    assert "playbooks/lock.yml" in done.stdout


def test_a_local_account_gets_repositories_and_no_images(aws, tmp_path):
    __, said = account(aws, tmp_path, registry_push=True, platform_local=True)
    assert "nothing is pushed" in said


def test_a_role_runs_alone_in_anybodys_play(aws, tmp_path):
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["llm.on_eks.network"]}
    (tmp_path / "mine.yml").write_text(json.dumps([play]))
    given = {**way_in(aws, tmp_path), "platform_aws_region": REGION, "platform_cluster_name": "alone"}

    def changed(**more):
        done = run("-i", "localhost,", str(tmp_path / "mine.yml"), "-e", json.dumps({**given, **more}))
        assert done.returncode == 0, done.stdout + done.stderr
        return int(re.search(r"changed=(\d+)", done.stdout)[1])

    ours = [{"Name": "tag:llm.on_eks/cluster", "Values": ["alone"]}]
    assert changed() == 1
    assert len(aws.client("ec2").describe_vpcs(Filters=ours)["Vpcs"]) == 1
    assert changed() == 0
    assert changed(network_state="absent") == 1
    assert aws.client("ec2").describe_vpcs(Filters=ours)["Vpcs"] == []
