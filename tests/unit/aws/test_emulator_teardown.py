# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a teardown on AWS stands in its way here: load balancers, interfaces, instances, policies."""

from __future__ import annotations

import itertools
import json
import re
import time

import pytest
from botocore.exceptions import ClientError

from local.aws.errors import recorded
from tests.support.emulated_aws import EmulatedAws, make_role, make_subnets

pytestmark = pytest.mark.programs

NUMBERS = itertools.count(20)
MARK = {"Key": "llm.on_eks/cluster", "Value": "demo"}


def code_of(call):
    with pytest.raises(ClientError) as failure:
        call()
    return failure.value.response["Error"]["Code"]


@pytest.fixture
def ground(aws):
    """(VPC, its subnets) with an internet gateway."""
    vpc, subnets = make_subnets(aws, cidr=f"10.{next(NUMBERS)}")
    ec2 = aws.client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    return vpc, subnets, gateway


def make_balancer(aws, ground, name, **more):
    made = aws.client("elbv2").create_load_balancer(
        Name=name, Type="network", Scheme="internet-facing", Subnets=ground[1], Tags=[MARK], **more
    )
    return made["LoadBalancers"][0]["LoadBalancerArn"]


def interfaces(aws, vpc):
    found = aws.client("ec2").describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    return [row["NetworkInterfaceId"] for row in found["NetworkInterfaces"]]


def test_a_load_balancer_keeps_subnets_groups_and_gateway(aws, ground):
    vpc, subnets, gateway = ground
    ec2 = aws.client("ec2")
    group = ec2.create_security_group(GroupName="front", Description="x", VpcId=vpc)["GroupId"]
    arn = make_balancer(aws, ground, "front", SecurityGroups=[group])
    tagged = aws.client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
    assert MARK in tagged
    assert len(interfaces(aws, vpc)) == 2
    assert code_of(lambda: ec2.delete_subnet(SubnetId=subnets[0])) == "DependencyViolation"
    assert code_of(lambda: ec2.delete_security_group(GroupId=group)) == "DependencyViolation"
    assert code_of(lambda: ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)) == "DependencyViolation"
    interface = interfaces(aws, vpc)[0]
    assert (
        code_of(lambda: ec2.delete_network_interface(NetworkInterfaceId=interface)) == "InvalidNetworkInterface.InUse"
    )
    aws.client("elbv2").delete_load_balancer(LoadBalancerArn=arn)
    ec2.delete_subnet(SubnetId=subnets[0])
    ec2.delete_security_group(GroupId=group)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)


def test_a_protected_load_balancer_does_not_go(aws, ground):
    elb = aws.client("elbv2")
    arn = make_balancer(aws, ground, "protected")
    key = "deletion_protection.enabled"
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "true"}])
    assert code_of(lambda: elb.delete_load_balancer(LoadBalancerArn=arn)) == "OperationNotPermitted"
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": "false"}])
    elb.delete_load_balancer(LoadBalancerArn=arn)


def test_a_stuck_load_balancer_leaves_its_interfaces_until_it_is_released(aws, ground):
    vpc, subnets, __ = ground
    aws.admin("PUT", "stuck/us-west-2", {"load_balancers": ["k8s-*"]})
    aws.client("elbv2").delete_load_balancer(LoadBalancerArn=make_balancer(aws, ground, "k8s-stuck"))
    aws.client("elbv2").delete_load_balancer(LoadBalancerArn=make_balancer(aws, ground, "other"))
    assert len(interfaces(aws, vpc)) == 2
    assert code_of(lambda: aws.client("ec2").delete_subnet(SubnetId=subnets[0])) == "DependencyViolation"
    aws.admin("PUT", "stuck/us-west-2", {"load_balancers": []})
    aws.client("ec2").delete_subnet(SubnetId=subnets[0])
    assert interfaces(aws, vpc) == []


def test_load_balancers_take_their_time_and_outlive_a_restart(tmp_path):
    aws = EmulatedAws(
        "--state", str(tmp_path), "--delay", "load-balancer=3", "--delay", "load-balancer-delete=3"
    ).start()
    try:
        vpc, subnets = make_subnets(aws)
        elb = aws.client("elbv2")
        arn = make_balancer(aws, (vpc, subnets), "slow")

        def state():
            return elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]["State"]["Code"]

        assert state() == "provisioning"
        aws.kill()
        aws.start()
        elb, end = aws.client("elbv2"), time.monotonic() + 30
        while state() != "active":
            assert time.monotonic() < end
            time.sleep(0.1)
        elb.delete_load_balancer(LoadBalancerArn=arn)
        assert elb.describe_load_balancers()["LoadBalancers"] == [] and len(interfaces(aws, vpc)) == 2
        while interfaces(aws, vpc):
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        aws.kill()


def test_an_instance_takes_its_interface_with_it(aws, ground):
    vpc, subnets, __ = ground
    ec2 = aws.client("ec2")
    image = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [MARK]}]
    made = ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large", SubnetId=subnets[0], TagSpecifications=tags
    )
    instance = made["Instances"][0]["InstanceId"]
    assert code_of(lambda: ec2.delete_subnet(SubnetId=subnets[0])) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    found = ec2.describe_instances(Filters=[{"Name": "tag:llm.on_eks/cluster", "Values": ["demo"]}])["Reservations"]
    assert [row["State"]["Name"] for entry in found for row in entry["Instances"]] == ["terminated"]
    assert interfaces(aws, vpc) == []


@pytest.mark.parametrize("kind", ["volume", "address", "snapshot"])
def test_marked_things_outside_the_vpc_are_found_by_their_mark(aws, kind):
    ec2 = aws.client("ec2")

    def given(word):
        return {"TagSpecifications": [{"ResourceType": word, "Tags": [MARK]}]}

    marked = [{"Name": "tag:llm.on_eks/cluster", "Values": ["demo"]}]
    volume = ec2.create_volume(AvailabilityZone="us-west-2a", Size=1, **given("volume"))["VolumeId"]
    ec2.create_volume(AvailabilityZone="us-west-2a", Size=1)
    if kind == "volume":
        found = {row["VolumeId"] for row in ec2.describe_volumes(Filters=marked)["Volumes"]}
        made = volume
    elif kind == "address":
        made = ec2.allocate_address(Domain="vpc", **given("elastic-ip"))["AllocationId"]
        ec2.allocate_address(Domain="vpc")
        found = {row["AllocationId"] for row in ec2.describe_addresses(Filters=marked)["Addresses"]}
    else:
        made = ec2.create_snapshot(VolumeId=volume, **given("snapshot"))["SnapshotId"]
        found = {row["SnapshotId"] for row in ec2.describe_snapshots(OwnerIds=["self"], Filters=marked)["Snapshots"]}
    tags = {row["ResourceId"] for row in ec2.describe_tags(Filters=marked)["Tags"]}
    assert made in found and found <= tags
    if kind != "volume":
        assert volume not in found


def test_a_policy_that_is_attached_or_has_versions_does_not_go(aws):
    iam = aws.client("iam")

    def document(action):
        allowed = {"Effect": "Allow", "Action": action, "Resource": "*"}
        return json.dumps({"Version": "2012-10-17", "Statement": [allowed]})

    make_role(aws, "holder")
    arn = iam.create_policy(PolicyName="held", PolicyDocument=document("s3:*"))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="holder", PolicyArn=arn)
    assert code_of(lambda: iam.delete_policy(PolicyArn=arn)) == "DeleteConflict"
    iam.detach_role_policy(RoleName="holder", PolicyArn=arn)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document("s3:Get*"), SetAsDefault=True)
    assert code_of(lambda: iam.delete_policy(PolicyArn=arn)) == "DeleteConflict"
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)


@pytest.mark.parametrize(
    ("action", "service", "operation", "given", "code"),
    [
        ("ec2:CreateVpc", "ec2", "create_vpc", {"CidrBlock": "10.99.0.0/16"}, "UnauthorizedOperation"),
        ("eks:*", "eks", "list_clusters", {}, "AccessDeniedException"),
        ("iam:ListRoles", "iam", "list_roles", {}, "AccessDenied"),
        ("s3:ListAllMyBuckets", "s3", "list_buckets", {}, "AccessDenied"),
        ("elasticloadbalancing:Describe*", "elbv2", "describe_load_balancers", {}, "AccessDenied"),
        ("servicequotas:*", "service-quotas", "list_service_quotas", {"ServiceCode": "ec2"}, "AccessDeniedException"),
    ],
)
def test_a_denied_action_is_refused_in_the_services_words(aws, action, service, operation, given, code):
    aws.admin("PUT", "denied", {"actions": [action]})
    try:
        assert code_of(lambda: getattr(aws.client(service), operation)(**given)) == code
        aws.client("sts").get_caller_identity()
    finally:
        aws.admin("PUT", "denied", {"actions": []})
    getattr(aws.client(service), operation)(**given)


def test_a_simulation_knows_what_was_denied(aws):
    iam, me = aws.client("iam"), aws.client("sts").get_caller_identity()["Arn"]
    aws.admin("PUT", "denied", {"actions": ["eks:Create*"]})
    try:
        rows = iam.simulate_principal_policy(PolicySourceArn=me, ActionNames=["eks:CreateCluster", "ec2:CreateVpc"])
    finally:
        aws.admin("PUT", "denied", {"actions": []})
    said = {row["EvalActionName"]: row["EvalDecision"] for row in rows["EvaluationResults"]}
    assert said == {"eks:CreateCluster": "explicitDeny", "ec2:CreateVpc": "allowed"}


def test_a_new_role_is_known_to_eks_after_a_while():
    aws = EmulatedAws("--delay", "role=2").start()
    try:
        __, subnets = make_subnets(aws)
        given = {"name": "early", "roleArn": make_role(aws, "new"), "resourcesVpcConfig": {"subnetIds": subnets}}
        said = [one.message for one in recorded().values() if one.id.startswith("eks.role_")]
        unknown = "|".join(re.escape(words) for words in said if "{" not in words)
        unknown += "|could not be assumed"
        with pytest.raises(ClientError, match=unknown):
            aws.client("eks").create_cluster(**given)
        end = time.monotonic() + 20
        while True:
            try:
                aws.client("eks").create_cluster(**given)
                return
            except ClientError as error:
                assert re.search(unknown, str(error)) and time.monotonic() < end
                time.sleep(0.1)
    finally:
        aws.kill()
