# SPDX-License-Identifier: Apache-2.0
"""Every shipped inventory and every switch of the AWS roles: made, kept, mended and removed with the published permissions alone."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from tests.support.aws_walk import Walk, deployer
from tests.support.described import REPO, describe, describe_inventory
from tests.support.emulated_aws import EmulatedAws, make_role
from tests.unit.test_aws_roles import EVERYTHING, HOSTS
from tests.unit.test_inventories import ANSWERS, ENVIRONMENTS, GATHER

pytestmark = pytest.mark.full
SWITCHES = {
    "everything": {**EVERYTHING, "network_flow_logs": "ALL", "storage_efs_iam": True},
    "seed": HOSTS["seed"],
    "isolated": HOSTS["isolated"],
    "china": {**HOSTS["china"], "network_flow_logs": "REJECT"},
}
PEOPLE = ("platform", "admins", "v", "o")


def components_of(case):
    """(name of the cluster, what is described)."""
    if case in ENVIRONMENTS:
        given = {**ANSWERS, "platform_look_only": True, "platform_preflight_aws": False}
        found = describe_inventory(REPO / "inventories" / case, "eks_clusters", GATHER, given)
        return f"llm-{case}", found[f"llm-{case}"]
    # Nothing is kept, and people and keys are those of this account.
    given = {"platform_cluster_name": case, "platform_protected": False, "storage_efs_retain": False}
    return case, describe({case: {**given, **SWITCHES[case]}})[case]


def tamper(aws, cluster, region):
    """Another hand: a policy is detached from the nodes' role, and logs are kept for a day."""
    iam, logs = (aws.client(name, region=region) for name in ("iam", "logs"))
    policy = iam.list_attached_role_policies(RoleName=f"{cluster}-node")["AttachedPolicies"][0]["PolicyArn"]
    iam.detach_role_policy(RoleName=f"{cluster}-node", PolicyArn=policy)
    logs.put_retention_policy(logGroupName=f"/aws/eks/{cluster}/cluster", retentionInDays=1)


@pytest.mark.parametrize("case", [*ENVIRONMENTS, *SWITCHES])
def test_it_is_made_mended_and_removed_with_the_published_permissions_alone(case):
    cluster, components = components_of(case)
    region = "cn-north-1" if case == "china" else "us-west-2"
    with EmulatedAws() as aws:
        for name in PEOPLE:
            make_role(aws, name)
        Walk.of(deployer(aws, region), cluster, components).apply()
        assert Walk.of(deployer(aws, region), cluster, components).apply() == []
        tamper(aws, cluster, region)
        walk = Walk.of(deployer(aws, region), cluster, components)
        assert walk.apply(), "what another hand did is taken back"
        assert Walk.of(deployer(aws, region), cluster, components).apply() == []
        list(walk.remove())
        assert census(deployer(aws, region), cluster).items == ()
