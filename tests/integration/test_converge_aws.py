# SPDX-License-Identifier: Apache-2.0
"""AWS in the one graph, against the emulated account and a real API server behind its cluster."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import NoClusterError
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support import aws_platform
from tests.support import emulated_cluster as emulated
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.emulated_aws import trust
from tests.support.emulated_cluster import did, gone

pytestmark = pytest.mark.apiserver
NAME = CONTROL_PLANE


def access(aws):
    return emulated.access(aws, NAME)


def converge(aws, components, **options):
    return emulated.converge(aws, NAME, components, **options)


@pytest.fixture(scope="module")
def components(aws):
    return aws_platform.platform(NAME, access(aws).connection.identity.arn)


@pytest.fixture(scope="module")
def first(aws, components):
    """(plan on the empty account, first run, second run); at the end whatever is left is removed."""
    yield converge(aws, components, check=True), converge(aws, components), converge(aws, components)
    aws.reset()
    converge(aws, gone(components))


@pytest.fixture
def platform(aws, components, first):
    """Descriptors of a small platform that stands, and stands again before the next test."""
    yield components
    aws.reset()
    converge(aws, components)


def test_a_plan_on_an_empty_account_is_whole_and_is_what_then_happens(aws, first, components):
    planned, done, again = first
    assert did(planned) == did(done)
    assert not did(again), "a second run changes nothing"
    assert not did(converge(aws, components, check=True))


def test_what_is_not_known_yet_says_so_in_the_plan(first):
    [action] = [one for one in first[0].components["node_groups"].actions if "system" in one.subject]
    assert "(known after apply)" in str(action.after)


def test_outputs_of_aws_reach_kubernetes(aws, first):
    client = first[1].context.run.client
    found = client.get(client.resource("v1", "ConfigMap"), "files", "storage")
    [system] = aws.client("efs").describe_file_systems()["FileSystems"]
    assert found["data"]["id"] == system["FileSystemId"]
    assert found["data"]["cluster"].endswith(f":cluster/{NAME}")


def test_storage_does_not_wait_for_the_control_plane(first):
    by_name = {node.node: node for node in first[1].nodes}
    files, control_plane = by_name["EFS file system models"], by_name[f"EKS cluster {NAME}"]
    assert files.started < control_plane.started + control_plane.seconds


def test_all_is_removed_and_the_plan_says_so_before(aws, platform):
    planned = converge(aws, gone(platform), check=True)
    assert did(planned) == did(converge(aws, gone(platform)))
    assert not aws.client("eks").list_clusters()["clusters"]
    ours = [{"Name": "tag-key", "Values": ["llm.on_eks/cluster"]}]
    assert not aws.client("ec2").describe_vpcs(Filters=ours)["Vpcs"]
    assert not aws.client("ec2").describe_subnets(Filters=ours)["Subnets"]
    assert not aws.client("efs").describe_file_systems()["FileSystems"]
    assert not did(converge(aws, gone(platform)))


def test_what_is_retained_stays_and_is_named(aws, platform):
    kept = [*platform[:-1], aws_platform.storage(retain=True)]
    converge(aws, kept)
    done = converge(aws, gone(kept))
    assert len(aws.client("efs").describe_file_systems()["FileSystems"]) == 1
    assert any("models is kept" in note for note in done.components["storage"].notes)


def test_what_was_retained_or_adopted_is_never_pruned(aws, platform):
    kept = [*platform[:3], aws_platform.storage(retain=True)]
    converge(aws, kept)
    without = {**aws_platform.storage(), "aws": [], "manifests": []}
    done = converge(aws, [*platform[:3], without])
    assert {action.subject for action in done.actions if "EFS file system" in action.subject} == set()
    adopted = {**without, "aws": [{**aws_platform.storage()["aws"][0], "adopt": True}]}
    converge(aws, [*platform[:3], adopted])
    converge(aws, [*platform[:3], without])
    assert len(aws.client("efs").describe_file_systems()["FileSystems"]) == 1


def test_a_node_group_that_is_no_longer_described_is_removed(aws, platform):
    two = [*platform[:2], aws_platform.nodes(("system", "spare")), platform[3]]
    converge(aws, two)
    planned = converge(aws, platform, check=True)
    assert [verb for __, verb, __ in did(planned)] == ["delete"]
    assert did(planned) == did(converge(aws, platform))
    assert aws.client("eks").list_nodegroups(clusterName=NAME)["nodegroups"] == ["system"]


def test_a_zone_that_is_no_longer_described_goes_in_the_order_of_references(aws, platform):
    converge(aws, aws_platform.platform(NAME, access(aws).connection.identity.arn, zones=("a", "b", "c")))
    done = converge(aws, platform)
    assert {verb for __, verb, __ in did(done)} == {"delete"} and len(done.actions) == 2


def test_what_only_earlier_revisions_had_goes_with_a_component_that_shrinks_as_it_goes(aws, platform):
    caller = access(aws).connection.identity.arn
    converge(aws, aws_platform.platform(NAME, caller, zones=("a", "b", "c"), groups=("system", "spare")))
    planned = converge(aws, gone(platform), check=True)
    done = converge(aws, gone(platform))
    assert [str(node.error) for node in done.nodes if node.state == "failed"] == []
    assert sorted(did(planned)) == sorted(did(done))
    mine = [{"Name": "tag-key", "Values": ["llm.on_eks/cluster"]}]
    assert not aws.client("ec2").describe_subnets(Filters=mine)["Subnets"]
    assert not aws.client("ec2").describe_vpcs(Filters=mine)["Vpcs"]
    assert not aws.client("eks").list_clusters()["clusters"]


def test_a_component_described_by_its_name_alone_takes_its_resources_along(aws, platform):
    converge(aws, [*platform[:2], aws_platform.nodes(("system", "spare")), platform[3]])
    without = [*platform[:2], {"name": "node_groups", "state": "absent"}, platform[3]]
    done = converge(aws, without)
    assert not aws.client("eks").list_nodegroups(clusterName=NAME)["nodegroups"]
    assert {verb for __, verb, __ in did(done)} == {"delete"} and len(done.actions) == 3
    assert not did(converge(aws, without))


def test_a_foreign_object_of_the_same_name_is_refused_and_stops_nothing_else(aws):
    role = {"type": "iam_role", "name": "role", "properties": {"name": "theirs", "services": ["eks.amazonaws.com"]}}
    logs = {"type": "log_group", "name": "logs", "properties": {"name": "/ours"}}
    components = [{"name": "one", "aws": [role, logs]}]
    aws.client("iam").create_role(RoleName="theirs", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))
    done = engine.converge(engine.Request(lose_data=("all",), descriptors=components, aws=access(aws)))
    [error] = done.errors
    assert "not marked as ours" in error
    assert did(done) == [("one", "create", "log group /ours")]
    assert did(converge(aws, gone(components))) == [("one", "delete", "log group /ours")]
    aws.client("iam").delete_role(RoleName="theirs")


def test_one_component_alone_looks_up_what_it_refers_to(aws, platform):
    done = converge(aws, platform, only=["storage"])
    assert list(done.components) == ["storage"] and not done.actions
    converge(aws, gone(platform), only=["storage"])
    assert not aws.client("efs").describe_file_systems()["FileSystems"]
    assert aws.client("eks").list_clusters()["clusters"] == [NAME]


def test_kubernetes_alone_needs_the_cluster_to_be_there(aws, platform):
    app = {"name": "app", "namespace": {"name": "app"}}
    with pytest.raises(NoClusterError, match=r"run the whole site\.yml"):
        emulated.converge(aws, "elsewhere", [app])
    assert did(converge(aws, [app])) == [("app", "create", "Namespace app")]
    converge(aws, gone([app]))


def test_a_reference_that_nobody_publishes_is_refused_before_anything_is_made(aws):
    bad = {
        "name": "x",
        "aws": [{"type": "efs_mount_target", "name": "t", "properties": {"subnet_id": "${out:y.z_id}"}}],
    }
    with pytest.raises(DescriptorError, match=r"\$\{out:y.z_id\}"):
        converge(aws, [bad])


def test_resources_that_wait_for_each_other_are_named(aws):
    knot = {
        "name": "knot",
        "aws": [
            {"type": "ec2_vpc", "name": name, "properties": {"name": name, "cidr": f"${{out:knot.{other}_cidr}}"}}
            for name, other in (("a", "b"), ("b", "a"))
        ],
    }
    with pytest.raises(DescriptorError, match="circle"):
        converge(aws, [knot])
