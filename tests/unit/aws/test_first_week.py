# SPDX-License-Identifier: Apache-2.0
"""A platform's first week on an account, and one in China: AWS's part of it, under the published permissions.

The account forgets, limits and fails as AWS does. After each day a run may have to be repeated, and nobody has to mend anything by hand.
"""

from __future__ import annotations

import random

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from tests.support.aws_walk import Walk, deployer
from tests.support.described import describe
from tests.support.emulated_aws import REGION, EmulatedAws

EKS = {
    "platform_provider": "eks",
    "platform_aws_region": REGION,
    "platform_protected": False,
    "model_catalog": [],
    "network_zones": ["a", "b"],
    "cluster_version": "1.35",
    "storage_efs_retain": False,
}
GPU = {"name": "gpu", "instance_types": ["g6.xlarge"], "min_size": 0, "max_size": 2}
# What people change in their first week, one at a time.
DAYS = {
    "made": {},
    "other nodes": {
        "node_groups_system": {"instance_types": ["m7i.large"], "min_size": 3, "max_size": 5, "disk_size": 80}
    },
    "reached from outside": {"cluster_public_access_cidrs": ["192.0.2.0/24"], "cluster_logging": ["audit"]},
    "one more way out": {
        "network_nat": "per_zone",
        "network_endpoints": ["s3", "ecr.api"],
        "network_flow_logs": "REJECT",
    },
    "another group": {"node_groups_extra": [GPU]},
    "a newer version": {"cluster_version": "1.36"},
    "as in the beginning": {"cluster_version": "1.36"},
}
# Codes of resources that EC2 does not know everywhere yet, by the call that follows their creation.
YOUNG = {
    "CreateSubnet": "InvalidVpcID.NotFound",
    "AttachInternetGateway": "InvalidInternetGatewayID.NotFound",
    "CreateRoute": "InvalidRouteTableID.NotFound",
    "AuthorizeSecurityGroupIngress": "InvalidGroup.NotFound",
    "CreateNatGateway": "InvalidSubnetID.NotFound",
}
FAILING = (
    ("eks", "CreateNodegroup"),
    ("eks", "CreateAddon"),
    ("ec2", "CreateNatGateway"),
    ("efs", "CreateMountTarget"),
)
_TRIES = 8


@pytest.fixture(scope="module")
def described():
    hosts = {f"week-{number}": {**EKS, **more} for number, more in enumerate(DAYS.values())}
    found = describe({name: {**given, "platform_cluster_name": "week"} for name, given in hosts.items()})
    return dict(zip(DAYS, found.values(), strict=True))


@pytest.fixture(scope="module")
def china():
    given = {**EKS, "platform_aws_region": "cn-north-1", "karpenter_aws_state": "present"}
    given |= {"karpenter_aws_instance_profile": True, "identity_load_balancer_controller": True}
    return describe({"china": {**given, "platform_cluster_name": "china", "network_endpoints": ["s3", "ecr.api"]}})[
        "china"
    ]


def trouble(aws, dice):
    """What AWS may do on one day."""
    aws.admin("DELETE", "faults")
    aws.admin("POST", "faults", {"kind": "throttle", "share": 0.03, "seed": dice.randrange(10**6)})
    for operation, code in YOUNG.items():
        refusal = {"kind": "error", "code": code, "message": "does not exist", "operation": operation}
        aws.admin("POST", "faults", {**refusal, "count": 1, "service": "ec2"})
    service, operation = dice.choice(FAILING)
    aws.admin("POST", "faults", {"kind": "fails", "service": service, "operation": operation, "count": 1})
    aws.admin(
        "POST", "faults", {"kind": "lost", "operation": dice.choice(["CreateCluster", "CreateNodegroup"]), "count": 1}
    )


def until_done(aws, components, before=None):
    """Runs until one succeeds, as a person or a schedule repeats them. Fails where the same run never does."""
    said = []
    for _ in range(_TRIES):
        walk = Walk.of(deployer(aws, REGION), "week", components)
        try:
            walk.apply()
            if before:
                walk.prune(before)
        except AwsError as error:
            said.append(str(error))
        else:
            return walk
    raise AssertionError(f"somebody would have to mend this: {said}")


@pytest.mark.full
@pytest.mark.parametrize("seed", range(50))
def test_nobody_mends_anything_by_hand(described, seed):
    dice = random.Random(seed)
    with EmulatedAws("--delay", "role=0.2", "--delay", "late-logs=0.5") as aws:
        before = None
        for day, components in described.items():
            trouble(aws, dice)
            before = until_done(aws, components, before)
            aws.admin("DELETE", "faults")
            again = Walk.of(deployer(aws, REGION), "week", components).apply()
            assert again == [], f"{day}: a second run changes nothing"
        last = components
        for most in (dice.randrange(5, 40), 10_000):
            walk = Walk.of(deployer(aws, REGION), "week", last)
            walk.look()
            list(walk.remove(most))
        assert census(deployer(aws, REGION), "week").items == (), "nothing of ours is left"
        until_done(aws, described["made"])


def test_all_of_it_is_made_and_removed_in_china(china):
    with EmulatedAws() as aws:
        connection = deployer(aws, "cn-north-1")
        walk = Walk.of(connection, "china", china)
        walk.apply()
        assert Walk.of(deployer(aws, "cn-north-1"), "china", china).apply() == []
        arns = [value for value in walk.outputs.values() if str(value).startswith("arn:")]
        assert arns and all(value.startswith("arn:aws-cn:") for value in arns)
        list(walk.remove())
        assert census(connection, "china").items == ()
