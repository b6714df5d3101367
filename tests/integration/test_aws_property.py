# SPDX-License-Identifier: Apache-2.0
"""Predicted = observed: random configurations of the AWS roles, on accounts that are empty, half built, or were tampered with."""

from __future__ import annotations

import random

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support import emulated_cluster as emulated
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.described import describe
from tests.support.emulated_aws import REGION
from tests.support.emulated_cluster import access, did, gone, without_retain

pytestmark = pytest.mark.apiserver
NAME = CONTROL_PLANE
SEEDS = [pytest.param(seed, marks=() if seed == 1 else pytest.mark.full) for seed in range(1, 11)]


def steps_of(seed):
    """How many configurations a seed goes through: few in the default run."""
    return 2 if seed == 1 else 4


def configuration(rng):
    """Variables of the roles, as somebody may write them into an inventory."""
    groups = [
        {
            "name": f"group-{index}",
            "instance_types": [rng.choice(["m7i.large", "m7i.xlarge"])],
            "min_size": 0,
            "max_size": rng.randint(1, 4),
            "labels": {"tier": rng.choice("ab")},
        }
        for index in range(rng.randint(0, 2))
    ]
    return {
        "platform_provider": "eks",
        "platform_cluster_name": NAME,
        "platform_aws_region": REGION,
        "model_catalog": [],
        "storage_efs_class": "files",
        "network_zones": rng.choice([["a", "b"], ["a", "b", "c"]]),
        "network_nat": rng.choice(["single", "per_zone", "none"]),
        "network_endpoints": rng.choice([[], ["s3"], ["s3", "ecr.api", "ecr.dkr"]]),
        "network_tags": rng.choice([{}, {"team": "ml"}, {"team": "web", "cost": "7"}]),
        "cluster_logging": rng.choice([[], ["api"], ["api", "audit"]]),
        "cluster_log_retention_days": rng.choice([7, 30]),
        "cluster_public_access_cidrs": rng.choice([[], ["192.0.2.0/24"]]),
        "cluster_deletion_protection": False,
        "node_groups_extra": groups,
        "storage_efs_retain": False,
        "storage_ebs_state": rng.choice(["present", "absent"]),
        "karpenter_aws_state": rng.choice(["present", "absent"]),
    }


@pytest.fixture(scope="module")
def described(tmp_path_factory, request):
    """seed -> the components of each of its configurations; one Ansible run describes them all."""
    seeds = sorted(
        {item.callspec.params["seed"] for item in request.session.items if "test_aws_property" in item.nodeid}
    )
    hosts = {}
    for seed in seeds:
        rng = random.Random(seed)
        hosts |= {f"s{seed}-{step}": configuration(rng) for step in range(steps_of(seed))}
    made = describe(hosts)
    # Engines and gateway want a node.
    aws_only = {name: [one for one in components if one["name"] != "gateway"] for name, components in made.items()}
    return {seed: [aws_only[f"s{seed}-{step}"] for step in range(steps_of(seed))] for seed in seeds}


@pytest.fixture
def steps(aws, described, seed):
    """The configurations of a seed, for an account that no other seed has left anything in."""
    yield described[seed]
    aws.reset()
    if census(access(aws, NAME).connection, NAME).items:
        aws.kill()
        aws.start()
        aws.admin("PUT", f"endpoints/{NAME}", aws.real_cluster)


def converge(aws, components, **options):
    return emulated.converge(aws, NAME, components, **options)


def changes(result):
    """What is done to each thing, field by field; below a field may stand what is only known afterwards."""
    return sorted(
        (name, action.verb, action.subject, tuple(sorted({change.path.split(".")[0] for change in action.changes})))
        for name, one in result.components.items()
        for action in one.actions
    )


def settle(aws, components):
    """Planned, done, and nothing left to do."""
    planned = changes(converge(aws, components, check=True))
    done = changes(converge(aws, components))
    assert planned == done
    again = converge(aws, components)
    assert not did(again), "the second run changed something"
    return len(done)


REFUSED = (
    ("eks", "CreateNodegroup"),
    ("eks", "CreateAddon"),
    ("eks", "CreateCluster"),
    ("efs", "CreateMountTarget"),
    ("ec2", "CreateNatGateway"),
    ("ec2", "CreateSubnet"),
    ("iam", "CreateRole"),
)


def half_build(aws, components, rng):
    """A run that is refused at some call, and leaves what it had made."""
    service, operation = rng.choice(REFUSED)
    aws.admin("POST", "faults", {"service": service, "operation": operation, "kind": "error", "count": 99})
    done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(aws, NAME)))
    aws.admin("DELETE", "faults")
    assert done.errors or operation == "CreateNatGateway"  # not every network has one


def tamper(aws, rng):
    """Another hand in the account; what it did."""
    ec2, eks, iam = aws.client("ec2"), aws.client("eks"), aws.client("iam")
    ours = [{"Name": "tag:llm.on_eks/cluster", "Values": [NAME]}]

    def tag():
        subnets = ec2.describe_subnets(Filters=ours)["Subnets"]
        ec2.create_tags(Resources=[rng.choice(subnets)["SubnetId"]], Tags=[{"Key": "team", "Value": "nobody"}])

    def detach():
        iam.detach_role_policy(RoleName=f"{NAME}-node", PolicyArn="arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy")

    def logs():
        aws.client("logs").put_retention_policy(logGroupName=f"/aws/eks/{NAME}/cluster", retentionInDays=1)

    def addon():
        eks.delete_addon(clusterName=NAME, addonName="metrics-server")
        while "metrics-server" in eks.list_addons(clusterName=NAME)["addons"]:
            pass

    def scale():
        eks.update_nodegroup_config(
            clusterName=NAME, nodegroupName="system", scalingConfig={"minSize": 0, "maxSize": 9, "desiredSize": 2}
        )
        while eks.describe_nodegroup(clusterName=NAME, nodegroupName="system")["nodegroup"]["status"] != "ACTIVE":
            pass

    for act in rng.sample([tag, detach, logs, addon, scale], rng.randint(1, 4)):
        act()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_is_what_then_happens(aws, steps, seed, capsys):
    rng = random.Random(1000 + seed)
    done = 0
    half_build(aws, steps[0], rng)
    for components in steps:
        done += settle(aws, components)
        if rng.random() < 0.7:
            tamper(aws, rng)
            done += settle(aws, components)
    doomed = without_retain(steps[-1])
    planned = changes(converge(aws, gone(doomed), check=True))
    assert planned == changes(converge(aws, gone(doomed)))
    left = census(access(aws, NAME).connection, NAME)
    assert not left.items and not left.unseen
    with capsys.disabled():
        print(f"\n  seed {seed}: {done} changes predicted and observed, {len(planned)} removals, nothing left")
