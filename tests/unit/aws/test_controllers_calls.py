# SPDX-License-Identifier: Apache-2.0
"""Calls of AWS's own controllers, as Karpenter and the cloud controller manager make them."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from .kinds import Ground


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture(scope="module")
def queue(account):
    return account.client("sqs").create_queue(QueueName="interruptions")["QueueUrl"]


def test_a_long_poll_waits_for_a_message_and_holds_nobody_up(aws, queue):
    sqs, ec2 = aws.client("sqs"), aws.client("ec2")
    began, got = time.monotonic(), []
    poll = threading.Thread(
        target=lambda: got.append(sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MaxNumberOfMessages=10))
    )
    poll.start()
    ec2.describe_vpcs()
    aws.client("sqs").send_message(QueueUrl=queue, MessageBody="now")
    poll.join(15)
    assert [message["Body"] for message in got[0]["Messages"]] == ["now"]
    assert time.monotonic() - began < 15
    assert "Messages" not in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1, VisibilityTimeout=0)


def test_a_message_says_when_it_was_sent_where_karpenter_asks(aws, queue):
    sqs = aws.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody="later")
    found = sqs.receive_message(QueueUrl=queue, AttributeNames=["SentTimestamp"], VisibilityTimeout=0)["Messages"]
    assert all(message["Attributes"]["SentTimestamp"].isdigit() for message in found)
    with pytest.raises(Exception, match="is not one of"):
        sqs.receive_message(QueueUrl=queue, AttributeNames=["Colour"])


def test_polls_that_find_nothing_are_not_kept(account, queue):
    folder = Path(account.arguments[account.arguments.index("--state") + 1])
    sqs = account.client("sqs")
    empty = sqs.create_queue(QueueName="empty")["QueueUrl"]
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    sqs.receive_message(QueueUrl=empty)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) == size > 0


def test_classic_load_balancers_are_held_to_their_own_model(aws, ground):
    elb = aws.client("elb")
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstanceProtocol": "TCP", "InstancePort": 30080}
    elb.create_load_balancer(LoadBalancerName="classic", Listeners=[listener], Subnets=ground.subnets[:1])
    (row,) = elb.describe_load_balancers(LoadBalancerNames=["classic"])["LoadBalancerDescriptions"]
    assert row["ListenerDescriptions"][0]["Listener"]["InstancePort"] == 30080
    assert row["HealthCheck"]["Target"] == "TCP:30080", "it checks from the beginning"
    assert aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    elb.delete_load_balancer(LoadBalancerName="classic")


def test_prices_follow_the_size_and_differ_on_spot(aws):
    def price(name):
        filters = [{"Type": "TERM_MATCH", "Field": "instanceType", "Value": name}]
        (row,) = aws.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
        (term,) = json.loads(row)["terms"]["OnDemand"].values()
        (dimension,) = term["priceDimensions"].values()
        return float(dimension["pricePerUnit"]["USD"])

    assert 0 < price("m7i.large") < price("m7i.16xlarge") < price("p5.48xlarge")
    rows = aws.client("ec2").describe_spot_price_history(InstanceTypes=["m7i.large", "m7i.16xlarge"])
    spot = {(row["InstanceType"], row["AvailabilityZone"]): float(row["SpotPrice"]) for row in rows["SpotPriceHistory"]}
    assert len(set(spot.values())) == len(spot) > 2
    assert all(found < price(name) for (name, __), found in spot.items())


def test_every_page_of_prices_is_there(aws):
    aws.admin("PUT", "page-size", {"items": 100})
    pages = aws.client("pricing").get_paginator("get_products").paginate(ServiceCode="AmazonEC2")
    found = [json.loads(row)["product"]["attributes"]["instanceType"] for page in pages for row in page["PriceList"]]
    assert len(found) == len(set(found)) > 1000


ALIASES = [
    "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id",
    "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/arm64/nvidia/recommended/image_id",
    "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/neuron/amazon-eks-node-al2023-x86_64-neuron-1.35-v20260724/image_id",
    "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/latest/image_id",
]


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_of_an_image_leads_to_an_image_of_its_processor(aws, name):
    identifier = aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    (image,) = aws.client("ec2").describe_images(ImageIds=[identifier])["Images"]
    assert image["Architecture"] in name and image["State"] == "available" and "1.35" in image["Name"]


@pytest.mark.parametrize("name", [ALIASES[0].replace("1.35", "1.12"), ALIASES[2].replace("x86_64", "arm64")])
def test_an_image_that_aws_does_not_make_has_no_alias(aws, name):
    with pytest.raises(Exception, match="ParameterNotFound"):
        aws.client("ssm").get_parameter(Name=name)


def test_an_instance_of_a_fleet_has_the_security_groups_of_its_template(aws, ground):
    ec2 = aws.client("ec2")
    image = aws.client("ssm").get_parameter(Name=ALIASES[0])["Parameter"]["Value"]
    data = {
        "ImageId": image,
        "UserData": base64.b64encode(b"#!/bin/sh").decode(),
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [ground.group]}],
    }
    ec2.create_launch_template(LaunchTemplateName="karpenter", LaunchTemplateData=data)
    override = {"InstanceType": "m7i.large", "SubnetId": ground.subnets[0]}
    fleet = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "karpenter", "Version": "$Latest"},
                "Overrides": [override],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )
    (identifier,) = fleet["Instances"][0]["InstanceIds"]
    (row,) = ec2.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"]
    assert [group["GroupId"] for group in row["SecurityGroups"]] == [ground.group]
    ec2.terminate_instances(InstanceIds=[identifier])
