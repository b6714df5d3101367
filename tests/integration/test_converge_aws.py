# SPDX-License-Identifier: Apache-2.0
"""AWS in the one graph, against the emulated account and a real API server behind its cluster."""

from __future__ import annotations

import base64
import os

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.aws_access import NoClusterError
from ansible_collections.llm.on_eks.plugins.plugin_utils.descriptor import DescriptorError
from tests.support import aws_world as world
from tests.support import emulated_cluster as emulated
from tests.support.emulated_aws import REGION, trust
from tests.support.emulated_cluster import did, emulated_cluster, gone

pytestmark = pytest.mark.apiserver
NAME = f"{os.environ.get('LLM_ON_EKS_TEST_CLUSTER', 't')}-aws"[:20]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """An emulated account whose cluster NAME is a real API server."""
    with emulated_cluster(NAME, tmp_path_factory.mktemp("aws")) as aws:
        yield aws


def access(aws):
    return emulated.access(aws, NAME)


def converge(aws, components, **options):
    return emulated.converge(aws, NAME, components, **options)


@pytest.fixture
def platform(house):
    """Descriptors of a small platform; whatever of it is left at the end is removed."""
    made = world.platform(NAME, access(house).connection.identity.arn)
    yield made
    house.reset()
    converge(house, gone(made))


def test_a_plan_on_an_empty_account_is_whole_and_is_what_then_happens(house, platform):
    planned = converge(house, platform, check=True)
    assert did(planned) == did(converge(house, platform))
    assert not did(converge(house, platform)), "a second run changes nothing"
    assert not did(converge(house, platform, check=True))


def test_what_is_not_known_yet_says_so_in_the_plan(house, platform):
    planned = converge(house, platform, check=True)
    [action] = [one for one in planned.components["node_groups"].actions if "system" in one.subject]
    assert "(known after apply)" in str(action.after)


def test_outputs_of_aws_reach_kubernetes(house, platform):
    done = converge(house, platform)
    client = done.context.client
    found = client.get(client.resource("v1", "ConfigMap"), "files", "storage")
    [system] = house.client("efs").describe_file_systems()["FileSystems"]
    assert found["data"]["id"] == system["FileSystemId"]
    assert found["data"]["cluster"].endswith(f":cluster/{NAME}")


def test_storage_does_not_wait_for_the_control_plane(house, platform):
    done = converge(house, platform)
    by_name = {node.node: node for node in done.nodes}
    files, control_plane = by_name["EFS file system models"], by_name[f"EKS cluster {NAME}"]
    assert files.started < control_plane.started + control_plane.seconds


def test_all_is_removed_and_the_plan_says_so_before(house, platform):
    converge(house, platform)
    doomed = gone(platform)
    planned = converge(house, doomed, check=True)
    assert did(planned) == did(converge(house, doomed))
    assert not house.client("eks").list_clusters()["clusters"]
    ours = [{"Name": "tag-key", "Values": ["llm.on_eks/cluster"]}]
    assert not house.client("ec2").describe_vpcs(Filters=ours)["Vpcs"]
    assert not house.client("ec2").describe_subnets(Filters=ours)["Subnets"]
    assert not house.client("efs").describe_file_systems()["FileSystems"]
    assert not did(converge(house, doomed))


def test_what_is_retained_stays_and_is_named(house, platform):
    kept = [*platform[:-1], world.storage(retain=True)]
    converge(house, kept)
    done = converge(house, gone(kept))
    assert len(house.client("efs").describe_file_systems()["FileSystems"]) == 1
    assert any("models is kept" in note for note in done.components["storage"].notes)


def test_a_node_group_that_is_no_longer_described_is_removed(house, platform):
    two = [*platform[:2], world.nodes(("system", "spare")), platform[3]]
    converge(house, two)
    planned = converge(house, platform, check=True)
    assert [verb for _, verb, _ in did(planned)] == ["delete"]
    assert did(planned) == did(converge(house, platform))
    assert house.client("eks").list_nodegroups(clusterName=NAME)["nodegroups"] == ["system"]


def test_a_zone_that_is_no_longer_described_goes_in_the_order_of_references(house, platform):
    zones = ("a", "b", "c")
    caller = access(house).connection.identity.arn
    wide = [world.network(NAME, zones=zones), world.cluster(NAME, caller), world.nodes(), world.storage(zones=zones)]
    converge(house, wide)
    done = converge(house, platform)
    assert {verb for _, verb, _ in did(done)} == {"delete"} and len(done.actions) == 2


def test_a_foreign_object_of_the_same_name_is_refused_and_survives(house, platform):
    house.client("iam").create_role(RoleName=f"{NAME}-cluster", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))
    done = engine.converge(platform, None, aws=access(house))
    assert "not marked as ours" in done.errors[0] and "storage" not in "".join(done.errors)
    converge(house, gone(platform))
    assert house.client("iam").get_role(RoleName=f"{NAME}-cluster")
    house.client("iam").delete_role(RoleName=f"{NAME}-cluster")


def test_one_component_alone_looks_up_what_it_refers_to(house, platform):
    converge(house, platform)
    done = converge(house, platform, only=["storage"])
    assert list(done.components) == ["storage"] and not done.actions
    doomed = gone(platform)
    converge(house, doomed, only=["storage"])
    assert not house.client("efs").describe_file_systems()["FileSystems"]
    assert house.client("eks").list_clusters()["clusters"] == [NAME]


def test_kubernetes_alone_needs_the_cluster_to_be_there(house, platform):
    app = {"name": "app", "namespace": {"name": "app"}}
    with pytest.raises(NoClusterError, match=r"run site\.yml"):
        converge(house, [app])
    converge(house, platform)
    assert did(converge(house, [app])) == [("app", "create", "Namespace app")]
    converge(house, gone([app]))


def test_a_reference_that_nobody_publishes_is_refused_before_anything_is_made(house):
    bad = {
        "name": "x",
        "aws": [{"type": "efs_mount_target", "name": "t", "properties": {"subnet_id": "${out:y.z_id}"}}],
    }
    with pytest.raises(DescriptorError, match=r"\$\{out:y.z_id\}"):
        converge(house, [bad])


def test_resources_that_wait_for_each_other_are_named(house):
    knot = {
        "name": "knot",
        "aws": [
            {"type": "ec2_vpc", "name": name, "properties": {"name": name, "cidr": f"${{out:knot.{other}_cidr}}"}}
            for name, other in (("a", "b"), ("b", "a"))
        ],
    }
    with pytest.raises(DescriptorError, match="circle"):
        converge(house, [knot])


def test_a_cut_network_of_a_dead_cluster_does_not_stop_its_removal(house, platform):
    converge(house, platform)
    found = house.client("eks").describe_cluster(name=NAME)["cluster"]
    authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
    house.admin("PUT", f"endpoints/{NAME}", {"endpoint": "https://127.0.0.1:1", "ca": authority})
    doomed = gone(platform)
    try:
        converge(house, doomed)
    finally:
        house.admin("PUT", f"endpoints/{NAME}", {"endpoint": found["endpoint"], "ca": authority})
    assert not house.client("eks").list_clusters()["clusters"]


@pytest.fixture
def impatient(monkeypatch):
    """Waits for what AWS's services leave behind are short."""
    from ansible_collections.llm.on_eks.plugins.module_utils.aws import ec2

    monkeypatch.setattr(ec2, "_LEAVING_S", 2)
    monkeypatch.setattr(ec2, "_SETTLING_S", 1)


def vpc_of(aws):
    [vpc] = aws.client("ec2").describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [NAME]}])["Vpcs"]
    return vpc["VpcId"]


def subnets_of(aws):
    found = aws.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc_of(aws)]}])["Subnets"]
    return [row["SubnetId"] for row in found]


def marked(**more):
    return [{"Key": key, "Value": value} for key, value in {"llm.on_eks/cluster": NAME, **more}.items()]


def test_what_controllers_left_behind_goes_by_its_mark_alone(house, platform):
    converge(house, platform)
    elb, ec2 = house.client("elbv2"), house.client("ec2")
    ours = elb.create_load_balancer(Name="ours", Subnets=subnets_of(house), Type="network", Tags=marked())
    volume = {"AvailabilityZone": f"{REGION}a", "Size": 1}
    customary = [{"Key": f"kubernetes.io/cluster/{NAME}", "Value": "owned"}]
    ec2.create_volume(**volume, TagSpecifications=[{"ResourceType": "volume", "Tags": marked()}])
    stranger = ec2.create_volume(**volume, TagSpecifications=[{"ResourceType": "volume", "Tags": customary}])[
        "VolumeId"
    ]
    doomed = gone(platform)
    planned = converge(house, doomed, check=True)
    assert "elb_load_balancer ours goes with the cluster" in planned.components["cluster"].notes
    done = converge(house, doomed)
    assert ours and not elb.describe_load_balancers()["LoadBalancers"]
    assert [row["VolumeId"] for row in ec2.describe_volumes()["Volumes"]] == [stranger]
    assert {"elb_load_balancer ours"} <= {action.subject for action in done.actions}
    ec2.delete_volume(VolumeId=stranger)


def test_a_stranger_in_the_vpc_is_named_and_survives(house, platform, impatient):
    converge(house, platform)
    ec2 = house.client("ec2")
    vpc = vpc_of(house)
    group = ec2.create_security_group(GroupName="theirs", Description="x", VpcId=vpc)["GroupId"]
    doomed = gone(platform)
    done = engine.converge(doomed, None, aws=access(house))
    [error] = done.errors
    assert group in error and "none of it is ours" in error
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.delete_security_group(GroupId=group)
    assert did(converge(house, doomed)) == [("network", "delete", f"VPC {NAME}")]
