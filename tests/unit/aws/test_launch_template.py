# SPDX-License-Identifier: Apache-2.0
"""Nodes start from a launch template of ours: encrypted, tagged, and with what EKS takes in one of two places only."""

from __future__ import annotations

import base64
import itertools

import pytest
from botocore.exceptions import ClientError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.tagging import tag_list, tag_map
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown, is_unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.leftovers import left_behind

from .kinds import OWNER, Ground, build, connect, sample

NUMBERS = itertools.count(1)
RAID = {"instance": {"localStorage": {"strategy": "RAID0"}}}


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture
def nodes(aws, ground):
    """Makes a group with a template of its name, and gives (template, group) as the next run sees them."""

    def make(name="", **template):
        name = name or f"nodes-{next(NUMBERS)}"
        lt = build("ec2_launch_template", aws, {"name": name, **template})
        lt.apply()
        params = {**sample("eks_nodegroup", ground, aws).params, "name": name, "disk_size": None}
        given = {"launch_template": lt.outputs()} | ({"instance_types": []} if template.get("instance_type") else {})
        block = {"capacity_type": "CAPACITY_BLOCK"} if template.get("capacity_block") else {}
        return lt, build("eks_nodegroup", aws, {**params, **given, **block})

    return make


def running(aws, group):
    found = aws.client("ec2").describe_instances(
        Filters=[
            {"Name": "tag:eks:nodegroup-name", "Values": [group]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
    )
    return [one for each in found["Reservations"] for one in each["Instances"]]


def latest(aws, name):
    (row,) = aws.client("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])[
        "LaunchTemplateVersions"
    ]
    return row


def test_a_template_is_encrypted_and_keeps_pods_from_the_metadata(aws):
    params = {"name": "safe", "root_gib": 200, "root_throughput": 600, "node_config": RAID, "efa_interfaces": 2}
    build("ec2_launch_template", aws, {**params, "security_group_ids": ["sg-1"]}).apply()
    data = latest(aws, "safe")["LaunchTemplateData"]
    volume = data["BlockDeviceMappings"][0]["Ebs"]
    assert volume["Encrypted"] and (volume["VolumeType"], volume["VolumeSize"], volume["Throughput"]) == (
        "gp3",
        200,
        600,
    )
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    cards = [(one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"]) for one in data["NetworkInterfaces"]]
    assert cards == [(0, 0, "efa"), (1, 1, "efa")] and "SecurityGroupIds" not in data
    text = base64.b64decode(data["UserData"]).decode()
    assert "Content-Type: application/node.eks.aws" in text and '"strategy": "RAID0"' in text


def test_nodes_and_their_disks_carry_our_mark_beside_the_tags_of_eks(aws, nodes):
    lt, group = nodes(instance_tags={"team": "a"})
    group.apply()
    group.wait()
    instances = running(aws, group.params["name"])
    assert len(instances) == 2
    for one in instances:
        tags = tag_map(one["Tags"])
        assert OWNER.tags.items() <= tags.items() and tags["team"] == "a" and tags["eks:cluster-name"] == "ground"
        volume = one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        (disk,) = aws.client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"]
        assert OWNER.tags.items() <= tag_map(disk["Tags"]).items()
    found = census(connect(aws), OWNER.cluster, ["ec2_instance", "ec2_launch_template"]).items
    assert {one["InstanceId"] for one in instances} <= {item.id for item in found}
    left = left_behind(connect(aws), OWNER.cluster, {lt.outputs()["id"]})
    assert not {item.id for item in left} & {lt.outputs()["id"], *(one["InstanceId"] for one in instances)}
    assert not [item for item in left if item.kind == "ec2_volume"], "a node's disk goes with the node"


def test_a_changed_template_is_a_new_version_that_the_group_takes_over_node_by_node(aws, nodes):
    lt, group = nodes()
    name = lt.params["name"]
    group.apply()
    group.wait()
    before = {one["InstanceId"] for one in running(aws, name)}
    changed = build("ec2_launch_template", aws, {"name": name, "root_gib": 80})
    plan = changed.plan()
    assert plan.verb == "update" and "BlockDeviceMappings" in str(plan.changes[0])
    assert is_unknown(changed.outputs()["version"]), "a plan does not know the next version's number"
    as_planned = build("eks_nodegroup", aws, {**group.params, "launch_template": changed.outputs()})
    assert as_planned.plan().verb == "update"
    changed.apply()
    assert changed.outputs()["version"] == "2"
    again = build("eks_nodegroup", aws, {**group.params, "launch_template": changed.outputs()})
    assert again.apply().verb == "update"
    assert again.wait()["launchTemplate"]["version"] == "2"
    assert not before & {one["InstanceId"] for one in running(aws, name)}
    assert build("ec2_launch_template", aws, changed.params).plan().verb == "none"


def test_a_version_of_somebody_elses_hand_is_a_difference_that_the_next_run_takes_back(aws):
    params = {"name": "drifting", "node_config": RAID}
    build("ec2_launch_template", aws, params).apply()
    aws.client("ec2").create_launch_template_version(
        LaunchTemplateName="drifting", LaunchTemplateData={"InstanceType": "t3.nano"}, VersionDescription="by hand"
    )
    plan = build("ec2_launch_template", aws, params).apply()
    assert plan.verb == "update" and any("InstanceType" in change.path for change in plan.changes)
    assert build("ec2_launch_template", aws, params).plan().verb == "none"
    assert build("ec2_launch_template", aws, params).outputs()["version"] == "3"


def test_a_group_that_was_made_without_a_template_is_planned_to_be_replaced(aws, ground, nodes):
    params = sample("eks_nodegroup", ground, aws).params
    build("eks_nodegroup", aws, params).apply()
    lt, __ = nodes(name=params["name"])
    wanted = {**params, "disk_size": None, "launch_template": lt.outputs()}
    plan = build("eks_nodegroup", aws, wanted).plan()
    assert plan.verb == "replace" and any(change.path.startswith("launchTemplate") for change in plan.changes)
    unknown = {"id": Unknown("template.id"), "version": Unknown("template.version")}
    assert build("eks_nodegroup", aws, {**wanted, "launch_template": unknown}).plan().verb == "replace"
    group = build("eks_nodegroup", aws, wanted)
    group.apply()
    assert group.wait()["launchTemplate"]["id"] == lt.outputs()["id"]
    assert build("eks_nodegroup", aws, wanted).plan().verb == "none"


def test_a_capacity_block_is_named_in_the_template_and_only_then_taken(aws, nodes):
    lt, group = nodes(instance_type="p5.48xlarge", capacity_block=True, capacity_reservation_id="cr-0123456789abcdef0")
    group.apply()
    assert group.wait()["capacityType"] == "CAPACITY_BLOCK"
    assert running(aws, lt.params["name"])[0]["InstanceType"] == "p5.48xlarge"


BAD = [
    ({}, {"diskSize": 50}, "Disk size must be specified within the launch template"),
    ({}, {"remoteAccess": {"ec2SshKey": "k"}}, "Remote access configuration"),
    ({"InstanceType": "m7i.large"}, {"instanceTypes": ["m7i.large"]}, "Cannot specify instance types in"),
    ({"IamInstanceProfile": {"Name": "p"}}, {}, "should not specify an IAM instance profile"),
    ({"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "subnet-1"}]}, {}, "should not specify a subnet"),
    ({"InstanceInitiatedShutdownBehavior": "terminate"}, {}, "should not specify a shutdown"),
    ({"UserData": base64.b64encode(b"#!/bin/sh").decode()}, {}, "not in the MIME multipart format"),
    ({"InstanceType": "p5.48xlarge"}, {"capacityType": "CAPACITY_BLOCK"}, "requires a launch template with"),
    ({}, {"launchTemplate": {"id": "lt-0", "name": "x"}}, "Either provide launch template ID or launch template name"),
    ({}, {"launchTemplate": {"id": "lt-0123456789abcdef0"}}, "does not exist"),
    ({}, {"instanceTypes": ["m7g.large"]}, r"\[m7g.large\] is not a valid instance type for requested amiType"),
]


@pytest.mark.parametrize(("data", "more", "words"), BAD)
def test_what_may_stand_in_one_place_only_is_refused_as_eks_refuses_it(aws, ground, data, more, words):
    ec2, eks = aws.client("ec2"), aws.client("eks")
    name = f"bad-{abs(hash(words))}"
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data or {"EbsOptimized": True})
    given = {"launchTemplate": {"id": made["LaunchTemplate"]["LaunchTemplateId"], "version": "1"}, **more}
    with pytest.raises(ClientError, match=words):
        eks.create_nodegroup(
            clusterName="ground", nodegroupName=name, subnets=ground.subnets, nodeRole=ground.role, **given
        )


def test_another_template_than_the_first_is_refused_by_eks(aws, ground, nodes):
    __, group = nodes()
    group.apply()
    other, __ = nodes()
    where = {"clusterName": "ground", "nodegroupName": group.params["name"]}
    with pytest.raises(ClientError, match="must specify the same launch template"):
        aws.client("eks").update_nodegroup_version(**where, launchTemplate=other.outputs())
    plain = sample("eks_nodegroup", ground, aws).params
    build("eks_nodegroup", aws, plain).apply()
    where["nodegroupName"] = plain["name"]
    with pytest.raises(ClientError, match="originally deployed with a launch template"):
        aws.client("eks").update_nodegroup_version(**where, launchTemplate=other.outputs())


def test_a_disk_that_gp3_does_not_have_is_refused(aws):
    with pytest.raises(ClientError, match="3000 IOPS and 1000 MiB/s are outside"):
        aws.client("ec2").create_launch_template(
            LaunchTemplateName="fast",
            LaunchTemplateData={
                "BlockDeviceMappings": [
                    {"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "VolumeSize": 50, "Throughput": 1000}}
                ]
            },
        )


def test_more_templates_than_a_page_are_all_listed(aws):
    ec2 = aws.client("ec2")
    tags = [{"ResourceType": "launch-template", "Tags": tag_list(OWNER.tags)}]
    for number in range(17):
        ec2.create_launch_template(
            LaunchTemplateName=f"page-{number}", LaunchTemplateData={"EbsOptimized": True}, TagSpecifications=tags
        )
    found = census(connect(aws), OWNER.cluster, ["ec2_launch_template"]).items
    assert {f"page-{number}" for number in range(17)} <= {item.name for item in found}


# A group with an image of its own: EKS merges no user data then, and takes no version.
# https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-custom-ami
JOINS = {"apiServerEndpoint": "https://a", "certificateAuthority": "Yg==", "cidr": "10.100.0.0/16", "name": "demo"}


@pytest.fixture
def image(aws):
    name = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id"
    return aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]


def custom(nodes, image, **template):
    lt, group = nodes(image_id=image, **template)
    group.params.update(ami_type="CUSTOM", version="1.34", release_version="1.34.1-20260101")
    return lt, group


def test_a_group_with_an_image_of_its_own_asks_for_no_version_and_needs_nothing_in_the_next_run(nodes, image):
    __, group = custom(nodes, image, node_config={"cluster": JOINS})
    group.apply()
    group.wait()
    assert group.read()["amiType"] == "CUSTOM"
    assert not group.plan().changes_anything


def test_nodes_of_an_image_that_is_not_told_the_cluster_never_join(nodes, image):
    __, group = custom(nodes, image)
    group.apply()
    with pytest.raises(Exception, match="Instances failed to join the kubernetes cluster"):
        group.wait()


def test_eks_refuses_its_own_image_types_versions_and_strange_images_beside_an_image(aws, nodes, image):
    __, group = nodes(image_id=image, node_config={"cluster": JOINS})
    with pytest.raises(Exception, match="AMI Type other than CUSTOM"):
        group.apply()
    __, group = custom(nodes, "ami-00000000000000000")
    with pytest.raises(Exception, match="does not exist"):
        group.apply()
    lt, group = custom(nodes, image, node_config={"cluster": JOINS})
    given = {"clusterName": group.params["cluster"], "nodegroupName": "v", "nodeRole": group.params["role_arn"]}
    given |= {"subnets": group.params["subnet_ids"], "launchTemplate": {"id": lt.outputs()["id"]}, "version": "1.34"}
    with pytest.raises(ClientError, match="cannot specify a kubernetes version"):
        aws.client("eks").create_nodegroup(**given)


def test_a_cluster_placement_group_over_two_zones_gets_no_second_node(aws, nodes, ground):
    placed = build("ec2_placement_group", aws, {"name": f"near-{next(NUMBERS)}", "strategy": "cluster"})
    placed.apply()
    __, group = nodes(placement_group=placed.outputs()["name"])
    group.params.update(min_size=2, max_size=2, subnet_ids=ground.subnets)
    group.apply()
    with pytest.raises(Exception, match="in use in another availability zone"):
        group.wait()
    __, one = nodes(placement_group=placed.outputs()["name"])
    one.params["subnet_ids"] = ground.subnets[:1]
    one.apply()
    one.wait()
    with pytest.raises(Exception, match="is in use and may not be deleted"):
        placed.remove(placed.read())


def test_images_of_amazon_linux_2_end_with_kubernetes_1_32(nodes):
    __, group = nodes()
    group.params["ami_type"] = "AL2_x86_64"
    with pytest.raises(Exception, match=r"only supported for kubernetes versions 1\.32 or earlier"):
        group.apply()
