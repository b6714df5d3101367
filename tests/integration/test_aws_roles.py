# SPDX-License-Identifier: Apache-2.0
"""The AWS roles, as they describe themselves, converged on an emulated account with a real API server behind its cluster."""

from __future__ import annotations

import pytest

from tests.support import emulated_cluster as emulated
from tests.support.cluster_names import cluster_name
from tests.support.described import describe
from tests.support.emulated_aws import REGION, make_role, make_subnets
from tests.support.emulated_cluster import did, emulated_cluster, gone, without_retain

pytestmark = pytest.mark.apiserver
NAME = cluster_name("roles")
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
def described(tmp_path_factory, foreign):
    subnets = foreign["subnets"]
    given = {"network_vpc_id": foreign["vpc"], "network_private_subnet_ids": subnets, "cluster_adopt": True}
    adopting = {**EKS, **given, "node_groups_addons": [{"name": "kube-proxy", "early": True}]}
    made = describe({**VARIANTS, "given": adopting})
    # Engines and gateway want a node.
    return {name: [one for one in components if one["name"] != "gateway"] for name, components in made.items()}


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An emulated account whose cluster NAME is a real API server."""
    with emulated_cluster(NAME, tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture(scope="module")
def foreign(account):
    """A network of somebody else."""
    vpc, subnets = make_subnets(account)
    yield {"vpc": vpc, "subnets": subnets}


def converge(aws, components, **options):
    return emulated.converge(aws, NAME, components, **options)


@pytest.fixture
def emptied(account, described):
    """Whatever a test leaves is removed, the file system too."""
    yield
    converge(account, gone(without_retain(described["everything"])))


@pytest.mark.full
@pytest.mark.parametrize("variant", ["everything", "plain", "seed"])
def test_from_nothing_to_all_and_back(account, described, emptied, variant):
    components = described[variant]
    planned = converge(account, components, check=True)
    done = converge(account, components)
    assert did(planned) == did(done)
    client = done.context.run.client
    volume = client.get(client.resource("v1", "PersistentVolume"), "models")
    assert volume["spec"]["csi"]["volumeHandle"] == handle(account)
    assert did(converge(account, components)) == []
    assert did(converge(account, components, check=True)) == []
    planned = converge(account, gone(components), check=True)
    done = converge(account, gone(components))
    assert did(planned) == did(done)
    left(account, described)


def left(account, described):
    """Nothing but the file system that is to stay, and what is the account's."""
    ec2, eks, iam = account.client("ec2"), account.client("eks"), account.client("iam")
    assert eks.list_clusters()["clusters"] == []
    assert ec2.describe_vpcs(Filters=OURS)["Vpcs"] == ec2.describe_addresses(Filters=OURS)["Addresses"] == []
    assert [role for role in iam.list_roles()["Roles"] if role["RoleName"].startswith(NAME)] == []
    assert iam.list_policies(Scope="Local")["Policies"] == []
    assert account.client("sqs").list_queues().get("QueueUrls", []) == []
    assert account.client("events").list_rules()["Rules"] == []
    assert len(account.client("efs").describe_file_systems()["FileSystems"]) == 1


def handle(account):
    """How the driver calls the access point for models."""
    [point] = account.client("efs").describe_access_points()["AccessPoints"]
    return f"{point['FileSystemId']}::{point['AccessPointId']}"


@pytest.mark.full
def test_the_file_system_that_stayed_is_found_again(account, described, emptied):
    components = described["plain"]
    converge(account, components)
    before = handle(account)
    converge(account, gone(components))
    again = converge(account, components)
    assert handle(account) == before
    assert not [row for row in did(again) if row[0] == "storage_efs" and "file system" in row[2]]


@pytest.mark.full
def test_one_way_out_more_or_less_moves_no_subnet(account, described, emptied):
    converge(account, described["plain"])
    wider = [described["everything"][0], *described["plain"][1:]]
    verbs = {verb for _, verb, _ in did(converge(account, wider))}
    assert verbs <= {"create", "update"}
    assert did(converge(account, wider)) == []
    converge(account, described["plain"])
    assert did(converge(account, described["plain"])) == []
    assert (
        len(
            account.client("ec2").describe_nat_gateways(Filter=[{"Name": "state", "Values": ["available"]}])[
                "NatGateways"
            ]
        )
        == 1
    )


def test_a_given_network_and_cluster_are_used_and_left_as_they_were(account, described, foreign):
    eks, ec2 = account.client("eks"), account.client("ec2")
    role = make_role(account, "somebody")
    config = {"subnetIds": foreign["subnets"]}
    access = {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": True}
    eks.create_cluster(name=NAME, version="1.34", roleArn=role, resourcesVpcConfig=config, accessConfig=access)

    def seen():
        vpcs = ec2.describe_vpcs(VpcIds=[foreign["vpc"]])["Vpcs"]
        subnets = ec2.describe_subnets(SubnetIds=foreign["subnets"])["Subnets"]
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
        converge(account, described["given"])
        assert eks.describe_nodegroup(clusterName=NAME, nodegroupName="system")["nodegroup"]["version"] == "1.34"
        assert did(converge(account, described["given"])) == []
        assert [arn for arn in seen()[3] if "-node" not in arn] == before[3]
        converge(account, gone(described["given"]))
        assert seen()[:3] == before[:3]
        assert eks.list_addons(clusterName=NAME)["addons"] == eks.list_nodegroups(clusterName=NAME)["nodegroups"] == []
    finally:
        eks.delete_cluster(name=NAME)
