# SPDX-License-Identifier: Apache-2.0
"""What AWS's controllers meet on the account: permissions of their roles, events about instances, spot, keys of customers."""

from __future__ import annotations

import base64
import contextlib
import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.emulated_aws import REGION, make_role, make_subnets

from .kinds import build

KEY = "arn:aws:kms:us-west-2:123456789012:key/mine"


def as_role(aws, name, *actions):
    """Clients with the session of a role that may do these."""
    arn = make_role(aws, name)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}
    iam = aws.client("iam")
    policy = iam.create_policy(PolicyName=f"{name}-own", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    keys = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="pod")["Credentials"]
    session = boto3.session.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    return session.client("ec2", endpoint_url=aws.url, config=Config(retries={"total_max_attempts": 1}))


def test_a_role_may_do_what_its_policies_allow_and_no_more(aws):
    ec2 = as_role(aws, "reader", "ec2:Describe*")
    ec2.describe_instances()
    with pytest.raises(ClientError, match=r"not authorized to perform: ec2:TerminateInstances"):
        ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])


def volume(ec2):
    made = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8, Encrypted=True, KmsKeyId=KEY)
    return ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"][0]["KmsKeyId"]


def test_a_volume_with_a_key_that_the_driver_may_not_use_vanishes(aws):
    """aws-ebs-csi-driver 1140: EC2 says nothing but that there is no such volume."""
    driver = ("ec2:CreateVolume", "ec2:DescribeVolumes")
    with pytest.raises(ClientError, match=r"InvalidVolume\.NotFound"):
        volume(as_role(aws, "driver", *driver))
    assert volume(as_role(aws, "driver-with-key", *driver, "kms:*")) == KEY


def start_spot(aws, number):
    return start(aws, number, "spot")


def start(aws, number, capacity, **more):
    ec2 = aws.client("ec2")
    __, (subnet, __) = make_subnets(aws, cidr=f"10.{number}")
    template = build("ec2_launch_template", aws, {"name": f"fleet-{number}", "instance_type": "m7i.large", **more})
    template.params["image_id"] = "ami-760aaa0f"
    template.apply()
    return ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template.outputs()["id"], "Version": "$Latest"},
                "Overrides": [{"SubnetId": subnet, "InstanceType": "m7i.large"}],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": capacity},
    )


def test_spot_instances_need_the_accounts_role_and_their_end_is_announced_to_the_queue_of_the_rule(aws):
    refused = start_spot(aws, 31)
    assert refused["Errors"][0]["ErrorCode"] == "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    assert not refused.get("Instances")
    aws.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    (instance,) = start_spot(aws, 32)["Instances"][0]["InstanceIds"]
    queue = build("sqs_queue", aws, {"name": "told", "senders": ["events.amazonaws.com"]})
    shut = build("sqs_queue", aws, {"name": "not-told", "senders": []})
    for one in (queue, shut):
        one.apply()
        pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
        target = [{"id": "queue", "arn": one.outputs()["arn"]}]
        build("events_rule", aws, {"name": f"rule-{one.params['name']}", "pattern": pattern, "targets": target}).apply()
    aws.admin("POST", f"interruptions/{REGION}/{instance}", {"kind": "spot"})
    sqs = aws.client("sqs")
    told = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="told")["QueueUrl"])["Messages"]
    assert json.loads(told[0]["Body"])["detail"] == {"instance-id": instance, "instance-action": "terminate"}
    closed = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="not-told")["QueueUrl"])
    assert not closed.get("Messages"), "the queue's policy does not let EventBridge in"


def test_an_instance_of_a_fleet_is_told_what_its_template_says(aws):
    """What Karpenter's nodes join by. Of both kinds of capacity."""
    ec2 = aws.client("ec2")
    for number, kind in ((41, "on-demand"), (42, "spot")):
        if kind == "spot":
            with contextlib.suppress(ClientError):  # a test before may have made it
                aws.client("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        made = start(aws, number, kind, node_config={"kubelet": {"config": {"maxPods": 7}}})
        (identifier,) = made["Instances"][0]["InstanceIds"]
        found = ec2.describe_instance_attribute(InstanceId=identifier, Attribute="userData")["UserData"]["Value"]
        assert "maxPods" in base64.b64decode(found).decode()
        (instance,) = ec2.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"]
        assert instance["PrivateDnsName"] and instance["Architecture"]
        assert instance.get("InstanceLifecycle") == ("spot" if kind == "spot" else None)
