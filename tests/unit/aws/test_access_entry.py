# SPDX-License-Identifier: Apache-2.0
"""Whoever runs this gets in, without anybody having to know who that is."""

from __future__ import annotations

import time

import boto3
import pytest
from botocore.config import Config

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.access_entry import EksAccessEntry
from tests.support.emulated_aws import REGION, make_role, make_subnets

from .kinds import OWNER, connect

ADMIN = [{"policy": "AmazonEKSClusterAdminPolicy"}]


@pytest.fixture(scope="module")
def cluster(account):
    """One that lets in nobody by itself, as ours are."""
    access = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
    __, subnets = make_subnets(account)
    role = make_role(account, "control-plane")
    account.client("eks").create_cluster(
        name="ground", roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, accessConfig=access
    )


def as_role(aws, name):
    """A connection of someone who assumed this role, as runners in a pipeline do."""
    arn = make_role(aws, name)
    keys = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="run-7")["Credentials"]
    session = boto3.session.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    config = Config(retries={"total_max_attempts": 1})
    return arn, Connection(lambda service: session.client(service, endpoint_url=aws.url, config=config), REGION)


def entry(connection, principal="caller"):
    params = {"cluster": "ground", "principal_arn": principal, "policies": ADMIN}
    return EksAccessEntry(connection, params, OWNER)


def test_the_caller_gets_an_entry(aws, cluster):
    assert entry(connect(aws)).apply().verb == "create"
    made = entry(connect(aws))
    assert made.plan().verb == "none"
    assert made.outputs()["principal_arn"] == connect(aws).identity.arn


def test_an_entry_without_its_policy_gets_it(aws, cluster):
    """As a run leaves it that ends between the two calls, and somebody who takes the rights away."""
    entry(connect(aws)).apply()
    where = {"clusterName": "ground", "principalArn": connect(aws).identity.arn}
    eks = aws.client("eks")
    [policy] = eks.list_associated_access_policies(**where)["associatedAccessPolicies"]
    eks.disassociate_access_policy(**where, policyArn=policy["policyArn"])
    assert entry(connect(aws)).apply().verb == "update"
    [again] = eks.list_associated_access_policies(**where)["associatedAccessPolicies"]
    assert again["policyArn"] == policy["policyArn"]
    assert entry(connect(aws)).plan().verb == "none"


def test_the_session_of_a_role_is_the_role(aws, cluster):
    arn, connection = as_role(aws, "deployer")
    assert ":assumed-role/deployer/run-7" in connection.identity.arn
    entry(connection).apply()
    assert entry(connection).outputs()["principal_arn"] == arn
    # As cluster_admins would name it.
    assert entry(connect(aws), arn).plan().verb == "none"


def test_before_the_cluster_is_known_a_plan_asks_nobody(aws):
    planned = EksAccessEntry(
        connect(aws), {"cluster": Unknown("x"), "principal_arn": "caller", "policies": ADMIN}, OWNER
    )
    assert planned.plan().verb == "create"


def test_looking_at_a_policy_does_not_move_its_times(aws, cluster):
    resource = entry(connect(aws))
    resource.apply()
    where = {"clusterName": "ground", "principalArn": connect(aws).identity.arn}
    look = aws.client("eks").list_associated_access_policies
    first = look(**where)["associatedAccessPolicies"]
    assert first and look(**where)["associatedAccessPolicies"] == first
    resource.delete()


def renewed(aws, name):
    """A role that was deleted, and one of the same name that came after it."""
    arn = make_role(aws, name)
    entry(connect(aws), arn).apply()
    aws.client("iam").delete_role(RoleName=name)
    time.sleep(1.1)  # IAM's dates have seconds
    make_role(aws, name)
    return arn


def test_the_entry_of_an_earlier_role_of_that_name_is_made_again(aws, cluster):
    arn = renewed(aws, "again")
    plan = entry(connect(aws), arn).plan()
    assert plan.mends
    assert "earlier role of that name" in str(plan.changes[0])
    entry(connect(aws), arn).apply()
    assert entry(connect(aws), arn).plan().verb == "none"


def test_nodes_of_a_role_that_was_made_again_join(aws, account, cluster):
    """EKS leaves the entry that it made for the nodes' role, when group and role go."""
    arn = make_role(aws, "nodes-again")
    aws.client("eks").create_access_entry(clusterName="ground", principalArn=arn, type="EC2_LINUX")
    aws.client("iam").delete_role(RoleName="nodes-again")
    time.sleep(1.1)
    make_role(aws, "nodes-again")
    subnets = aws.client("eks").describe_cluster(name="ground")["cluster"]["resourcesVpcConfig"]["subnetIds"]
    given = {"clusterName": "ground", "nodeRole": arn, "subnets": subnets}
    aws.client("eks").create_nodegroup(nodegroupName="by-hand", **given)
    shown = aws.client("eks").describe_nodegroup(clusterName="ground", nodegroupName="by-hand")["nodegroup"]
    assert shown["health"]["issues"][0]["message"] == "Instances failed to join the kubernetes cluster"
    params = {"cluster": "ground", "name": "ours", "role_arn": arn, "subnet_ids": subnets}
    group = RESOURCES["eks_nodegroup"](connect(aws), params, OWNER)
    group.apply()
    assert group.wait()["status"] == "ACTIVE"
