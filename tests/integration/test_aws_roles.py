# SPDX-License-Identifier: Apache-2.0
"""The AWS roles, as they describe themselves, converged on an emulated account with a real API server behind its cluster."""

from __future__ import annotations

import json

import pytest

from tests.support import emulated_cluster as emulated
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.described import describe
from tests.support.emulated_aws import REGION, make_role, make_subnets
from tests.support.emulated_cluster import did, gone, without_retain

pytestmark = pytest.mark.apiserver
NAME = CONTROL_PLANE
OURS = [{"Name": "tag:llm.on_eks/cluster", "Values": [NAME]}]
EKS = {
    "platform_provider": "eks",
    "platform_cluster_name": NAME,
    "platform_aws_region": REGION,
    "platform_protected": False,
    "model_catalog": [],
    # The local control plane has a class called efs.
    "storage_efs_class": "files",
}
EVERYTHING = {
    **EKS,
    "karpenter_aws_state": "present",
    "karpenter_aws_instance_profile": True,
    "storage_s3_state": "present",
    "storage_s3_buckets": [{"name": "weights", "bucket": "my-models"}],
    "network_nat": "per_zone",
    "network_endpoints": ["s3", "ecr.api"],
    "cluster_encryption_key": "own",
    "cluster_public_access_cidrs": ["192.0.2.0/24"],
    "node_groups_extra": [{"name": "spare", "instance_types": ["m7i.large"]}],
    "identity_load_balancer_controller": True,
    "identity_roles": [{"name": "engines", "namespace": "llm-engines", "service_account": "engine"}],
}
VARIANTS = {
    "plain": EKS,
    "everything": EVERYTHING,
    "seed": {**EVERYTHING, "identity_variant": "seed"},
}


@pytest.fixture(scope="module")
def described(foreign):
    adopting = {"network_vpc_id": "vpc-theirs", "network_private_subnet_ids": ["subnet-a", "subnet-b"]}
    adopting |= {"cluster_adopt": True, "node_groups_addons": [{"name": "kube-proxy", "early": True}]}
    made = describe({**VARIANTS, "given": {**EKS, **adopting}})
    made["given"] = json.loads(_replaced(json.dumps(made["given"]), foreign))
    # Engines and gateway want a node.
    return {name: [one for one in components if one["name"] != "gateway"] for name, components in made.items()}


def _replaced(text, names):
    """What is described has the same names in each session, and is found again."""
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    return text


@pytest.fixture(scope="module")
def foreign(aws):
    """A network of somebody else: the names in `described`, and the real ones."""
    vpc, (first, second) = make_subnets(aws)
    return {"vpc-theirs": vpc, "subnet-a": first, "subnet-b": second}


def converge(aws, components, **options):
    return emulated.converge(aws, NAME, components, **options)


@pytest.fixture
def emptied(aws, described):
    """Whatever a test leaves is removed, the file system too."""
    yield
    converge(aws, gone(without_retain(described["everything"])))


@pytest.mark.full
@pytest.mark.parametrize("variant", ["everything", "plain", "seed"])
def test_from_nothing_to_all_and_back(aws, described, emptied, variant):
    components = described[variant]
    planned = converge(aws, components, check=True)
    done = converge(aws, components)
    assert did(planned) == did(done)
    client = done.context.run.client
    volume = client.get(client.resource("v1", "PersistentVolume"), "models")
    assert volume["spec"]["csi"]["volumeHandle"] == handle(aws)
    assert did(converge(aws, components)) == []
    assert did(converge(aws, components, check=True)) == []
    planned = converge(aws, gone(components), check=True)
    done = converge(aws, gone(components))
    assert did(planned) == did(done)
    left(aws, described)


def left(aws, described):
    """Nothing but the file system that is to stay, and what is the account's."""
    ec2, eks, iam = aws.client("ec2"), aws.client("eks"), aws.client("iam")
    assert eks.list_clusters()["clusters"] == []
    assert ec2.describe_vpcs(Filters=OURS)["Vpcs"] == ec2.describe_addresses(Filters=OURS)["Addresses"] == []
    assert [role for role in iam.list_roles()["Roles"] if role["RoleName"].startswith(NAME)] == []
    assert iam.list_policies(Scope="Local")["Policies"] == []
    assert aws.client("sqs").list_queues().get("QueueUrls", []) == []
    assert aws.client("events").list_rules()["Rules"] == []
    assert len(aws.client("efs").describe_file_systems()["FileSystems"]) == 1


def handle(aws):
    """How the driver calls the access point for models."""
    [point] = aws.client("efs").describe_access_points()["AccessPoints"]
    return f"{point['FileSystemId']}::{point['AccessPointId']}"


@pytest.mark.full
def test_the_file_system_that_stayed_is_found_again(aws, described, emptied):
    components = described["plain"]
    converge(aws, components)
    before = handle(aws)
    converge(aws, gone(components))
    again = converge(aws, components)
    assert handle(aws) == before
    assert not [row for row in did(again) if row[0] == "storage_efs" and "file system" in row[2]]


@pytest.mark.full
def test_one_way_out_more_or_less_moves_no_subnet(aws, described, emptied):
    converge(aws, described["plain"])
    wider = [described["everything"][0], *described["plain"][1:]]
    verbs = {verb for __, verb, __ in did(converge(aws, wider))}
    assert verbs <= {"create", "update"}
    assert did(converge(aws, wider)) == []
    converge(aws, described["plain"])
    assert did(converge(aws, described["plain"])) == []
    assert (
        len(aws.client("ec2").describe_nat_gateways(Filter=[{"Name": "state", "Values": ["available"]}])["NatGateways"])
        == 1
    )


def test_a_given_network_and_cluster_are_used_and_left_as_they_were(aws, described, foreign):
    eks, ec2 = aws.client("eks"), aws.client("ec2")
    role = make_role(aws, "somebody")
    config = {"subnetIds": [foreign["subnet-a"], foreign["subnet-b"]]}
    access = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True}
    eks.create_cluster(name=NAME, version="1.34", roleArn=role, resourcesVpcConfig=config, accessConfig=access)

    def seen():
        vpcs = ec2.describe_vpcs(VpcIds=[foreign["vpc-theirs"]])["Vpcs"]
        subnets = ec2.describe_subnets(SubnetIds=[foreign["subnet-a"], foreign["subnet-b"]])["Subnets"]
        cluster = eks.describe_cluster(name=NAME)["cluster"]
        entries = eks.list_access_entries(clusterName=NAME)["accessEntries"]
        return (
            vpcs,
            [{k: v for k, v in one.items() if k != "AvailableIpAddressCount"} for one in subnets],
            cluster,
            entries,
        )

    before = seen()
    try:
        converge(aws, described["given"])
        assert eks.describe_nodegroup(clusterName=NAME, nodegroupName="system")["nodegroup"]["version"] == "1.34"
        assert did(converge(aws, described["given"])) == []
        assert [arn for arn in seen()[3] if "-node" not in arn] == before[3]
        converge(aws, gone(described["given"]))
        assert seen()[:3] == before[:3]
        assert eks.list_addons(clusterName=NAME)["addons"] == eks.list_nodegroups(clusterName=NAME)["nodegroups"] == []
    finally:
        eks.delete_cluster(name=NAME)
