# SPDX-License-Identifier: Apache-2.0
"""One sample of each kind of resource: how it is described, what is then changed, and what it needs to be there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import AwsResource, Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws, make_role, make_subnets

OWNER = Owner("demo", "network")
STRANGER = Owner("other", "network")
_NUMBERS = itertools.count(1)
# One for all: a session reads the service models anew.
_SESSION = boto3.session.Session(region_name=REGION, **KEYS)


def connect(aws: EmulatedAws, keys: dict[str, str] | None = None) -> Connection:
    """A connection of a run of its own; with `keys` as somebody else."""
    # As a deployer, whom the emulator holds to the permissions that we publish.
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, user_agent_extra="llm.on_eks")
    given = {"endpoint_url": aws.url, "config": config, **(keys or {})}
    return Connection(lambda service: _SESSION.client(service, **given), REGION, retry_delay_s=0.01)


@dataclass(frozen=True)
class Ground:
    """What samples stand on."""

    vpc: str
    subnets: list[str]
    group: str
    cluster: str
    role: str
    other_role: str
    file_system: str
    gateway: str

    @classmethod
    def make(cls, aws: EmulatedAws) -> Ground:
        vpc, subnets = make_subnets(aws, zones="abc")
        ec2, eks, efs = aws.client("ec2"), aws.client("eks"), aws.client("efs")
        group = ec2.create_security_group(GroupName="ground", Description="ground", VpcId=vpc)["GroupId"]
        role, other = make_role(aws, "ground"), make_role(aws, "ground-2")
        eks.create_cluster(
            name="ground",
            version="1.34",
            roleArn=role,
            resourcesVpcConfig={"subnetIds": subnets},
            accessConfig={"authenticationMode": "API"},
        )
        tags = [{"Key": key, "Value": value} for key, value in OWNER.tags.items()]
        system = efs.create_file_system(CreationToken="ground", Tags=tags)["FileSystemId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        return cls(vpc, subnets, group, "ground", role, other, system, gateway)


@dataclass(frozen=True)
class Sample:
    """`params` describes it, `changed` some parameters otherwise; empty where nothing can be changed but tags."""

    params: dict[str, Any]
    changed: dict[str, Any]


def sample(kind: str, ground: Ground, aws: EmulatedAws) -> Sample:
    """A fresh one: every call has names of its own."""
    number = next(_NUMBERS)
    name = f"x{number}"
    in_cluster = {"cluster": ground.cluster}
    if kind == "ec2_vpc":
        return Sample({"name": name, "cidr": "10.9.0.0/16"}, {"dns_hostnames": False})
    if kind == "ec2_subnet":
        vpc = aws.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        params = {"name": name, "vpc_id": vpc, "cidr": "10.8.1.0/24", "zone": f"{REGION}a"}
        return Sample(params, {"map_public_ip": True})
    if kind == "ec2_internet_gateway":
        first, second = (aws.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"] for __ in range(2))
        return Sample({"name": name, "vpc_id": first}, {"vpc_id": second})
    if kind == "ec2_flow_log":
        vpc = aws.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
        aws.client("logs").create_log_group(logGroupName=f"/vpc/{name}")
        role = make_role(aws, name, "vpc-flow-logs.amazonaws.com")
        return Sample({"name": name, "vpc_id": vpc, "log_group": f"/vpc/{name}", "role_arn": role}, {})
    if kind == "ec2_launch_template":
        config = {"instance": {"localStorage": {"strategy": "RAID0"}}}
        params = {"name": name, "root_gib": 100, "root_throughput": 500, "node_config": config}
        return Sample(params, {"root_gib": 200, "node_config": {}, "instance_tags": {"team": "a"}})
    if kind == "ec2_placement_group":
        return Sample({"name": name, "strategy": "spread"}, {})
    if kind == "ec2_nat_gateway":
        return Sample({"name": name, "subnet_id": ground.subnets[0]}, {})
    if kind == "ec2_route_table":
        route = {"destination": "0.0.0.0/0", "gateway_id": ground.gateway}
        subnet = _subnet(aws, number)
        params = {"name": name, "vpc_id": subnet["VpcId"], "subnet_ids": [subnet["SubnetId"]]}
        gateway = aws.client("ec2").create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        aws.client("ec2").attach_internet_gateway(InternetGatewayId=gateway, VpcId=subnet["VpcId"])
        return Sample(params, {"routes": [{**route, "gateway_id": gateway}]})
    if kind == "ec2_endpoint":
        table = aws.client("ec2").create_route_table(VpcId=ground.vpc)["RouteTable"]["RouteTableId"]
        params = {"name": name, "vpc_id": ground.vpc, "endpoint_service": "s3", "route_table_ids": []}
        return Sample(params, {"route_table_ids": [table]})
    if kind == "ec2_security_group":
        rules = [
            {"port": 2049, "source_group_id": ground.group, "description": "NFS"},
            {"protocol": "all", "self": True},
        ]
        params = {"name": name, "vpc_id": ground.vpc, "rules": rules}
        return Sample(params, {"rules": [*rules, {"port": 443, "cidr": "10.0.0.0/8"}]})
    if kind == "ecr_repository":
        return Sample({"name": f"llm/{name}"}, {"keep_images": 10, "mutable": True})
    if kind == "efs_file_system":
        return Sample(
            {"name": name}, {"transition_to_ia": "AFTER_30_DAYS", "throughput_mode": "bursting", "tls_only": True}
        )
    if kind == "efs_mount_target":
        tags = [{"Key": key, "Value": value} for key, value in OWNER.tags.items()]
        efs = aws.client("efs")
        system = efs.create_file_system(CreationToken=name, Tags=tags)["FileSystemId"]
        params = {"file_system_id": system, "subnet_id": ground.subnets[0], "security_group_ids": [ground.group]}
        other = aws.client("ec2").create_security_group(GroupName=name, Description="x", VpcId=ground.vpc)["GroupId"]
        return Sample(params, {"security_group_ids": [other]})
    if kind == "efs_access_point":
        params = {"file_system_id": ground.file_system, "name": name, "uid": 1000, "gid": 1000, "path": "/models"}
        return Sample({**params, "permissions": "0755"}, {})
    if kind == "eks_access_entry":
        role = make_role(aws, name)
        params = {**in_cluster, "principal_arn": role, "groups": ["viewers"]}
        policies = [{"policy": "AmazonEKSViewPolicy", "namespaces": ["a"]}, {"policy": "AmazonEKSClusterAdminPolicy"}]
        return Sample({**params, "policies": policies}, {"groups": ["viewers", "editors"], "policies": policies[:1]})
    if kind == "eks_addon":
        cluster = make_cluster(aws, ground, name)
        return Sample(
            {"cluster": cluster, "name": "vpc-cni"},
            {"version": "latest", "configuration": {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}},
        )
    if kind == "eks_cluster":
        params = {"name": name, "role_arn": ground.role, "version": "1.33", "subnet_ids": ground.subnets[:2]}
        changed = {
            "version": "1.35",
            "endpoint_public_access": False,
            "logging": ["audit"],
            "deletion_protection": True,
        }
        return Sample(params, {**changed, "subnet_ids": ground.subnets})
    if kind == "eks_nodegroup":
        taint = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}
        params = {**in_cluster, "name": name, "role_arn": ground.role, "subnet_ids": ground.subnets, "min_size": 2}
        params |= {"instance_types": ["m7i.large"], "labels": {"a": "1", "b": "2"}, "taints": [taint], "disk_size": 50}
        return Sample(params, {"max_size": 5, "labels": {"a": "2"}, "taints": [], "max_unavailable": 2})
    if kind == "eks_pod_identity_association":
        params = {**in_cluster, "namespace": "llm", "service_account": name, "role_arn": ground.role}
        return Sample(params, {"role_arn": ground.other_role})
    if kind == "events_rule":
        target = {"id": "queue", "arn": f"arn:aws:sqs:{REGION}:123456789012:x"}
        params = {"name": name, "pattern": {"source": ["aws.ec2"]}, "targets": [target]}
        return Sample(params, {"pattern": {"source": ["aws.health"]}, "targets": [{**target, "id": "other"}]})
    if kind == "iam_instance_profile":
        return Sample({"name": name, "role": "ground"}, {"role": "ground-2"})
    if kind == "iam_oidc_provider":
        return Sample({"issuer": f"https://oidc.eks.{REGION}.amazonaws.com/id/{name}"}, {"client_ids": ["other"]})
    if kind == "iam_policy":
        return Sample({"name": name, "document": allow("s3:GetObject")}, {"document": allow("s3:PutObject")})
    if kind == "iam_role":
        params = {"name": name, "services": ["pods.eks.amazonaws.com"], "managed_policies": ["AmazonEKS_CNI_Policy"]}
        params["inline_policies"] = {"a": allow("s3:GetObject"), "b": allow("s3:ListBucket")}
        changed = {"services": ["ec2.amazonaws.com"], "managed_policies": ["AmazonEKSWorkerNodePolicy"]}
        return Sample(params, {**changed, "inline_policies": {"a": allow("s3:PutObject")}, "description": "new"})
    if kind == "iam_service_linked_role":
        services = ["spot", "elasticloadbalancing", "eks-nodegroup", "autoscaling", "ecs", "rds", "es", "elasticache"]
        services += ["lex", "inspector", "guardduty", "batch", "config", "macie", "transitgateway", "globalaccelerator"]
        service = services[number % len(services)]
        return Sample({"service_name": f"{service}.amazonaws.com", "custom_suffix": name}, {"description": "new"})
    if kind == "kms_key":
        return Sample({"name": name, "description": "models"}, {"description": "weights", "rotation": False})
    if kind == "log_group":
        return Sample({"name": f"/aws/eks/{name}/cluster"}, {"retention_days": 7})
    if kind == "s3_bucket":
        return Sample({"name": f"llm-records-{name}"}, {"versioning": False})
    if kind == "sqs_queue":
        return Sample({"name": name, "senders": ["events.amazonaws.com"]}, {"retention_s": 600, "senders": []})
    raise AssertionError(f"no sample of {kind}")


def make_cluster(aws: EmulatedAws, ground: Ground, name: str) -> str:
    eks = aws.client("eks")
    config = {"subnetIds": ground.subnets}
    eks.create_cluster(name=name, version="1.34", roleArn=ground.role, resourcesVpcConfig=config)
    return name


def allow(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def _subnet(aws: EmulatedAws, number: int) -> dict[str, Any]:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.1.0/24")["Subnet"]


def build(kind: str, aws: EmulatedAws, params: dict[str, Any], owner: Owner | None = OWNER, **more: Any) -> AwsResource:
    """The resource as a new run sees it."""
    return RESOURCES[kind](connect(aws), params, owner, **more)


def live(kind, aws, example):
    """Made, changed, tagged, untagged, removed."""
    build(kind, aws, example.params).apply()
    build(kind, aws, example.params).wait()
    wanted = {**example.params, **example.changed}
    if example.changed:
        build(kind, aws, wanted).apply()
        build(kind, aws, wanted).wait()
    if kind not in ("efs_mount_target", "iam_service_linked_role"):
        build(kind, aws, {**wanted, "tags": {"a": "b"}}).apply()
        build(kind, aws, {**wanted, "purge_tags": True}).apply()
    build(
        kind, aws, wanted, owner=None if kind == "iam_service_linked_role" else build(kind, aws, wanted).owner
    ).delete()
