# SPDX-License-Identifier: Apache-2.0
"""What looks like ours and is not: the same names without our mark, with another cluster's, or with the customary tags alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.support.emulated_aws import REGION, EmulatedAws, trust

Tags = dict[str, str]


def flavours(cluster: str) -> dict[str, Tags]:
    """Marks that must not be taken for ours."""
    return {
        "unmarked": {},
        "of another cluster": {"llm.on_eks/cluster": f"{cluster}-2", "llm.on_eks/component": "network"},
        "customary": {f"kubernetes.io/cluster/{cluster}": "owned", "eks:cluster-name": cluster},
    }


def pairs(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _specified(kind: str, name: str, tags: Tags) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": pairs({"Name": name, **tags})}]


def plant_network(aws: EmulatedAws, components: list[dict[str, Any]], cluster: str, tags: Tags) -> int:
    """All that EC2 lets stand twice under one name: each of the network's own names again, in a VPC of somebody else. How many."""
    ec2, elb = aws.client("ec2"), aws.client("elbv2")
    entries = [entry for one in components for entry in one.get("aws", [])]

    def names(kind: str) -> list[str]:
        return [entry["properties"]["name"] for entry in entries if entry["type"] == kind]

    (name,) = names("ec2_vpc")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=_specified("vpc", name, tags))["Vpc"]["VpcId"]
    subnets = []
    for number, subnet in enumerate(names("ec2_subnet")):
        given = {"VpcId": vpc, "CidrBlock": f"10.0.{number}.0/24", "AvailabilityZone": f"{REGION}{'ab'[number % 2]}"}
        made = ec2.create_subnet(**given, TagSpecifications=_specified("subnet", subnet, tags))
        subnets.append(made["Subnet"]["SubnetId"])
    for group in names("ec2_security_group"):
        given = {"GroupName": group, "Description": "x", "VpcId": vpc}
        ec2.create_security_group(**given, TagSpecifications=_specified("security-group", group, tags))
    for table in names("ec2_route_table"):
        ec2.create_route_table(VpcId=vpc, TagSpecifications=_specified("route-table", table, tags))
    for gateway in names("ec2_internet_gateway"):
        found = ec2.create_internet_gateway(TagSpecifications=_specified("internet-gateway", gateway, tags))
        ec2.attach_internet_gateway(InternetGatewayId=found["InternetGateway"]["InternetGatewayId"], VpcId=vpc)
    for gateway in names("ec2_nat_gateway"):
        # One in use, and one that lies about: nobody's left-over is taken for ours.
        for used in (True, False):
            address = ec2.allocate_address(Domain="vpc", TagSpecifications=_specified("elastic-ip", gateway, tags))
            if used:
                given = {"SubnetId": subnets[0], "AllocationId": address["AllocationId"]}
                made = ec2.create_nat_gateway(**given, TagSpecifications=_specified("natgateway", gateway, tags))
                # Or it would look as if somebody had changed it.
                waiter = ec2.get_waiter("nat_gateway_available")
                waiter.wait(NatGatewayIds=[made["NatGateway"]["NatGatewayId"]], WaiterConfig={"Delay": 1})
    for endpoint in names("ec2_endpoint"):
        given = {"VpcId": vpc, "ServiceName": f"com.amazonaws.{REGION}.s3"}
        ec2.create_vpc_endpoint(**given, TagSpecifications=_specified("vpc-endpoint", endpoint, tags))
    volume = {"AvailabilityZone": f"{REGION}a", "Size": 1}
    ec2.create_volume(**volume, TagSpecifications=_specified("volume", f"{cluster}-dynamic-pvc-1", tags))
    ec2.create_network_interface(
        SubnetId=subnets[0], TagSpecifications=_specified("network-interface", cluster, tags), Description=cluster
    )
    machine = {"ImageId": "ami-760aaa0f", "MinCount": 1, "MaxCount": 1, "SubnetId": subnets[0]}
    ec2.run_instances(**machine, TagSpecifications=_specified("instance", cluster, tags))
    flavour = next(iter(tags.values()), "none")
    ec2.create_launch_template(
        LaunchTemplateName=f"{cluster}-{flavour}",
        LaunchTemplateData={"InstanceType": "t3.micro"},
        TagSpecifications=_specified("launch-template", cluster, tags),
    )
    label = f"lb-{flavour}"[:32]
    elb.create_load_balancer(Name=label, Subnets=subnets[:2], Type="network", **_tagged(tags))
    elb.create_target_group(Name=label, Protocol="TCP", Port=80, VpcId=vpc, **_tagged(tags))
    return len([entry for entry in entries if entry["type"].startswith("ec2_")]) + 7


def _tagged(tags: Tags) -> dict[str, Any]:
    return {"Tags": pairs(tags)} if tags else {}


def plant_names(aws: EmulatedAws, components: list[dict[str, Any]], tags: Tags, ending: str = "") -> int:
    """Everything that is known by its name, under ours with an ending; with none, ours cannot be made beside it. How many."""
    return sum(1 for __ in _planted(aws, components, tags, ending))


def _planted(aws: EmulatedAws, components: list[dict[str, Any]], tags: Tags, ending: str) -> Iterator[None]:
    iam, kms = aws.client("iam"), aws.client("kms")
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
    for component in components:
        for entry in component.get("aws", []):
            name = f"{entry['properties'].get('name')}{ending}"
            match entry["type"]:
                case "iam_role":
                    given = {"RoleName": name, "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")}
                    iam.create_role(**given, Tags=pairs(tags))
                    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
                case "iam_policy":
                    iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document), Tags=pairs(tags))
                case "iam_instance_profile":
                    iam.create_instance_profile(InstanceProfileName=name, Tags=pairs(tags))
                case "sqs_queue":
                    aws.client("sqs").create_queue(QueueName=name, tags=tags)
                case "events_rule":
                    pattern = json.dumps({"source": ["aws.ec2"]})
                    aws.client("events").put_rule(Name=name, EventPattern=pattern, Tags=pairs(tags))
                case "log_group":
                    aws.client("logs").create_log_group(logGroupName=name, **({"tags": tags} if tags else {}))
                case "kms_key":
                    given = {"Tags": [{"TagKey": key, "TagValue": value} for key, value in tags.items()]}
                    key = kms.create_key(**(given if tags else {}))["KeyMetadata"]["KeyId"]
                    kms.create_alias(AliasName=f"alias/{name}", TargetKeyId=key)
                case "efs_file_system":
                    efs = aws.client("efs")
                    system = efs.create_file_system(CreationToken=name, Tags=pairs({"Name": name, **tags}))
                    efs.create_access_point(FileSystemId=system["FileSystemId"], Tags=pairs({"Name": "models", **tags}))
                case _:
                    continue
            yield
    bucket = f"stranger-{ending.strip('-') or 'same'}-{len(tags)}"
    place: dict[str, Any] = {"LocationConstraint": REGION}
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    if tags:
        aws.client("s3").put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs(tags)})
    yield
