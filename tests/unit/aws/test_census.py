# SPDX-License-Identifier: Apache-2.0
"""A census finds everything that carries the cluster's mark, nothing else, and says what it could not see."""

from __future__ import annotations

import json

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.tagging import tag_list
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import KINDS, Census, census
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.item import Item
from tests.unit.aws.kinds import OWNER, STRANGER, Ground, build, connect, sample

# Service-linked roles are the account's and take no marks.
OURS = sorted(set(RESOURCES) - {"iam_service_linked_role"})
# What others put on things of a cluster, and what a name alone would suggest.
CUSTOMARY = {"kubernetes.io/cluster/demo": "owned", "elbv2.k8s.aws/cluster": "demo", "Name": "demo", "cluster": "demo"}
CUSTOMARY |= {"alpha.eksctl.io/cluster-name": "demo", "llm.on_eks/component": "network"}
# Another key, except for IAM, which refuses it beside the first.
OTHER_CASE = {"LLM.on_eks/cluster": "demo"}
IMAGE = "ami-760aaa0f"


class Planted:
    """An account with one of each kind that is ours, and beside it look-alikes. `ids`: kind → ids with the mark."""

    def __init__(self, aws) -> None:
        self.aws = aws
        self.ids: dict[str, set[str]] = {}
        self.strange_addresses: set[str] = set()
        ground = Ground.make(aws)
        self.ids["efs_file_system"] = {ground.file_system}
        for kind in OURS:
            for owner, tags in ((OWNER, None), (STRANGER, CUSTOMARY), (None, CUSTOMARY)):
                if tags and kind == "efs_mount_target":
                    continue  # it has no marks: its file system's count
                params = sample(kind, ground, aws).params
                if tags:
                    params = {**params, "tags": {**tags, **({} if kind.startswith("iam_") else OTHER_CASE)}}
                resource = build(kind, aws, params, owner)
                resource.apply()
                if owner is OWNER:
                    self._note(kind, resource.wait())
        efs = aws.client("efs")
        strange = efs.create_file_system(CreationToken="demo", Tags=tag_list(CUSTOMARY))["FileSystemId"]
        efs.create_mount_target(FileSystemId=strange, SubnetId=ground.subnets[0])
        self._machines(ground)

    def _note(self, kind, current):
        self.ids.setdefault(kind, set()).add(identifier(kind, current))
        if kind == "efs_mount_target":
            self.ids["efs_file_system"].add(current["FileSystemId"])

    def _machines(self, ground):
        """What controllers and node groups make: instances, volumes, interfaces, addresses, load balancers."""
        ec2, elb = self.aws.client("ec2"), self.aws.client("elbv2")
        made = {"vpc": ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]}
        for tags, ours in ((OWNER.tags, True), (CUSTOMARY, False), (STRANGER.tags, False)):
            suffix, pairs = f"{len(self.ids)}-{len(tags)}-{ours}".lower(), tag_list(tags)

            def spec(kind, pairs=pairs):
                return [{"ResourceType": kind, "Tags": pairs}]

            subnet = ground.subnets[0]
            instance = ec2.run_instances(
                ImageId=IMAGE, MinCount=1, MaxCount=1, InstanceType="m6i.large", SubnetId=subnet,
                TagSpecifications=spec("instance"),
            )["Instances"][0]["InstanceId"]  # fmt: skip
            gone = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, TagSpecifications=spec("instance"))
            ec2.terminate_instances(InstanceIds=[gone["Instances"][0]["InstanceId"]])
            volume = ec2.create_volume(
                AvailabilityZone="us-west-2a", Size=730, VolumeType="gp3", TagSpecifications=spec("volume")
            )["VolumeId"]
            snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=spec("snapshot"))["SnapshotId"]
            interface = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=spec("network-interface"))
            address = ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip"))["AllocationId"]
            balancer = elb.create_load_balancer(
                Name=f"demo-{suffix}"[:32], Subnets=ground.subnets[:2], Type="network", Tags=pairs
            )["LoadBalancers"][0]["LoadBalancerArn"]
            group = elb.create_target_group(
                Name=f"demo-{suffix}"[:32], Protocol="TCP", Port=80, VpcId=made["vpc"], Tags=pairs
            )["TargetGroups"][0]["TargetGroupArn"]
            if not ours:
                self.strange_addresses.add(address)
            if ours:
                self.ids |= {
                    "ec2_instance": {instance},
                    "ec2_volume": {volume},
                    "ec2_snapshot": {snapshot},
                    "ec2_network_interface": {interface["NetworkInterface"]["NetworkInterfaceId"]},
                    "elb_load_balancer": {balancer},
                    "elb_target_group": {group},
                }
                self.ids.setdefault("ec2_address", set()).add(address)


KEYS = {
    "ec2_flow_log": "FlowLogId",
    "ec2_launch_template": "LaunchTemplateId",
    "ec2_placement_group": "GroupId",
    "ec2_endpoint": "VpcEndpointId",
    "ec2_internet_gateway": "InternetGatewayId",
    "ec2_nat_gateway": "NatGatewayId",
    "ec2_route_table": "RouteTableId",
    "ec2_security_group": "GroupId",
    "ec2_subnet": "SubnetId",
    "ec2_vpc": "VpcId",
    "ecr_repository": "repositoryName",
    "efs_access_point": "AccessPointId",
    "efs_file_system": "FileSystemId",
    "efs_mount_target": "MountTargetId",
    "eks_access_entry": "principalArn",
    "eks_addon": "addonName",
    "eks_cluster": "name",
    "eks_nodegroup": "nodegroupName",
    "eks_pod_identity_association": "associationId",
    "events_rule": "Name",
    "iam_instance_profile": "InstanceProfileName",
    "iam_oidc_provider": "Arn",
    "iam_policy": "Arn",
    "iam_role": "RoleName",
    "kms_key": "KeyId",
    "log_group": "logGroupName",
}


def identifier(kind, current):
    if kind == "s3_bucket":
        return current["policy"] and json.loads(current["policy"])["Statement"][0]["Resource"][0].split(":::")[1]
    if kind == "sqs_queue":
        return current.get("url") or current["QueueUrl"]
    return current[KEYS[kind]]


@pytest.fixture(scope="module")
def planted(account):
    return Planted(account)


def found(result):
    ids: dict[str, set[str]] = {}
    for item in result.items:
        ids.setdefault(item.kind, set()).add(item.id)
    return ids


def test_every_kind_that_we_make_can_be_found():
    assert set(OURS) <= set(KINDS)


@pytest.mark.parametrize("items_a_page", [0, 1], ids=["usual pages", "pages of one"])
def test_all_that_carries_the_mark_is_found_and_no_look_alike(planted, aws, items_a_page):
    aws.admin("PUT", "page-size", {"items": items_a_page})
    result = census(connect(aws), "demo")
    assert result.unseen == ()
    ids = found(result)
    assert {kind: wanted - ids.get(kind, set()) for kind, wanted in planted.ids.items()} == {
        kind: set() for kind in planted.ids
    }, "missed"
    # NAT gateways have addresses of their own, with the marks of their gateways.
    assert not ids["ec2_address"] & planted.strange_addresses
    extra = {kind: had - planted.ids.get(kind, set()) for kind, had in ids.items() if kind != "ec2_address"}
    assert {kind: had for kind, had in extra.items() if had} == {}, "not ours"


def test_items_say_component_state_and_price(planted, aws):
    items = {item.kind: item for item in census(connect(aws), "demo").items}
    instance, volume = items["ec2_instance"], items["ec2_volume"]
    assert (instance.component, instance.state, instance.price_per_hour) == ("network", "running", 0.096)
    assert volume.price_per_hour == pytest.approx(0.08), "730 GiB of gp3"
    assert items["eks_cluster"].price_per_hour == 0.10 and items["iam_role"].price_per_hour == 0


def test_a_question_about_few_kinds_asks_few_services(planted, aws):
    aws.admin("DELETE", "calls")
    result = census(connect(aws), "demo", kinds=["elb_load_balancer", "ec2_volume"])
    assert {item.kind for item in result.items} == {"elb_load_balancer", "ec2_volume"}
    assert {call.split(":")[0] for call in aws.admin("GET", "calls")} == {"ec2", "elbv2"}


def test_a_service_that_refuses_is_named_and_the_others_answer(planted, aws):
    aws.admin(
        "POST",
        "faults",
        {"service": "eks", "operation": "ListClusters", "kind": "error", "code": "AccessDeniedException"},
    )
    result = census(connect(aws), "demo")
    assert [text[:28] for text in result.unseen] == ["eks: list clusters failed: A"]
    assert "eks_cluster" not in found(result) and "iam_role" in found(result)
    assert any(line.startswith("could not be checked: eks") for line in result.table())


def test_a_single_thing_that_refuses_hides_no_other(planted, aws):
    fault = {
        "service": "kms",
        "operation": "ListResourceTags",
        "kind": "error",
        "code": "AccessDeniedException",
        "count": 1,
    }
    aws.admin("POST", "faults", fault)
    result = census(connect(aws), "demo", kinds=["kms_key"])
    assert len(result.unseen) == 1 and "list resource tags" in result.unseen[0]


def test_throttling_on_every_call_changes_nothing(planted, aws):
    before = census(connect(aws), "demo")
    aws.admin("POST", "faults", {"each": True})
    assert census(connect(aws), "demo") == before


def test_another_cluster_sees_its_own_only(planted, aws):
    ids = found(census(connect(aws), "other"))
    assert ids["ec2_instance"] and not ids["ec2_instance"] & planted.ids["ec2_instance"]
    assert census(connect(aws), "nobody") == Census()


def test_an_unknown_kind_is_refused(aws):
    with pytest.raises(AwsError, match="there is no kind 'ec2_vcp'"):
        census(connect(aws), "demo", kinds=["ec2_vcp"])


def test_the_table_is_aligned_and_ends_with_the_sum():
    result = Census((
        Item("ec2_volume", "vol-1", name="data", component="storage", state="available", price_per_hour=0.5),
        Item("s3_bucket", "records", price_per_hour=None),
    ))  # fmt: skip
    assert result.table() == [
        "KIND        NAME  ID       COMPONENT  STATE      USD/H",
        "ec2_volume  data  vol-1    storage    available  0.5000",
        "s3_bucket   -     records  -          -          unknown",
        "2 in all, 0.5000 USD an hour, and 1 without a known price",
    ]
    assert Census().table() == []
