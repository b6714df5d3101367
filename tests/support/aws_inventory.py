# SPDX-License-Identifier: Apache-2.0
"""Everything that an account holds, by its raw listings and not by ours: as it is, and without what is new in every account."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.emulated_aws import EmulatedAws

Row = dict[str, Any]
Found = dict[tuple[str, str], Row]  # (kind, identifier) -> all that can be read of it
# operation, member of the answer, member that identifies; EC2 alone.
_EC2 = {
    "vpc": ("describe_vpcs", "Vpcs", "VpcId"),
    "subnet": ("describe_subnets", "Subnets", "SubnetId"),
    "internet gateway": ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "NAT gateway": ("describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "address": ("describe_addresses", "Addresses", "AllocationId"),
    "route table": ("describe_route_tables", "RouteTables", "RouteTableId"),
    "security group": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "endpoint": ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "interface": ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    "volume": ("describe_volumes", "Volumes", "VolumeId"),
    "placement group": ("describe_placement_groups", "PlacementGroups", "GroupId"),
    "launch template": ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
}
_DEAD = ("deleted", "deleting", "terminated")
_MEMBERS = (
    ("node group", "list_nodegroups", "nodegroups", "describe_nodegroup", "nodegroup", "nodegroupName"),
    ("add-on", "list_addons", "addons", "describe_addon", "addon", "addonName"),
    ("access entry", "list_access_entries", "accessEntries", "describe_access_entry", "accessEntry", "principalArn"),
)


def inventory(aws: EmulatedAws) -> Found:
    """What is there, but for the default VPC of the region, service-linked roles and what is a memory only."""
    found: Found = {}
    for part in (_ec2, _eks, _efs, _iam, _messages, _other):
        for kind, identifier, row in part(aws):
            row.pop("ResponseMetadata", None)
            found[kind, identifier] = json.loads(json.dumps(row, default=str, sort_keys=True))
    return found


def _ec2(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    ec2 = aws.client("ec2")
    default = {row["VpcId"] for row in ec2.describe_vpcs()["Vpcs"] if row.get("IsDefault")}
    for kind, (operation, member, identifier) in _EC2.items():
        for row in getattr(ec2, operation)()[member]:
            attached = {part.get("VpcId") for part in row.get("Attachments", []) if isinstance(part, dict)}
            if row.get("State") in _DEAD or default & {row.get("VpcId"), *attached}:
                continue
            if kind == "vpc":
                for name in ("enableDnsSupport", "enableDnsHostnames"):
                    answer = ec2.describe_vpc_attribute(VpcId=row["VpcId"], Attribute=name)
                    row[name] = answer[name[0].upper() + name[1:]]
            yield kind, row[identifier], row
    for reservation in ec2.describe_instances()["Reservations"]:
        for row in reservation["Instances"]:
            if row["State"]["Name"] not in _DEAD:
                yield "instance", row["InstanceId"], row


def _eks(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    eks = aws.client("eks")
    for cluster in eks.list_clusters()["clusters"]:
        yield "cluster", cluster, eks.describe_cluster(name=cluster)["cluster"]
        for kind, listing, members, describing, member, key in _MEMBERS:
            for name in getattr(eks, listing)(clusterName=cluster)[members]:
                row = getattr(eks, describing)(clusterName=cluster, **{key: name})[member]
                if kind == "access entry":
                    where = {"clusterName": cluster, "principalArn": name}
                    row["policies"] = eks.list_associated_access_policies(**where)["associatedAccessPolicies"]
                yield kind, f"{cluster}/{name}", row
        for one in eks.list_pod_identity_associations(clusterName=cluster)["associations"]:
            where = {"clusterName": cluster, "associationId": one["associationId"]}
            row = eks.describe_pod_identity_association(**where)["association"]
            yield "association", f"{cluster}/{row['namespace']}/{row['serviceAccount']}", row


def _efs(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    efs = aws.client("efs")
    for row in efs.describe_file_systems()["FileSystems"]:
        where = {"FileSystemId": row["FileSystemId"]}
        yield "file system", row["FileSystemId"], row
        for target in efs.describe_mount_targets(**where)["MountTargets"]:
            yield "mount target", target["MountTargetId"], target
        for point in efs.describe_access_points(**where)["AccessPoints"]:
            yield "access point", point["AccessPointId"], point


def _iam(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    iam = aws.client("iam")
    for listed in iam.list_roles()["Roles"]:
        if listed["Path"].startswith("/aws-service-role/"):
            continue
        where = {"RoleName": listed["RoleName"]}
        row = iam.get_role(**where)["Role"]
        row["attached"] = iam.list_attached_role_policies(**where)["AttachedPolicies"]
        names = iam.list_role_policies(**where)["PolicyNames"]
        row["inline"] = {name: iam.get_role_policy(**where, PolicyName=name)["PolicyDocument"] for name in names}
        row.pop("RoleLastUsed", None)
        yield "role", row["RoleName"], row
    for listed in iam.list_policies(Scope="Local")["Policies"]:
        arn = listed["Arn"]
        row = iam.get_policy(PolicyArn=arn)["Policy"]
        version = iam.get_policy_version(PolicyArn=arn, VersionId=row["DefaultVersionId"])
        yield "policy", row["PolicyName"], {**row, "document": version["PolicyVersion"]["Document"]}
    for listed in iam.list_instance_profiles()["InstanceProfiles"]:
        name = listed["InstanceProfileName"]
        row = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        yield "instance profile", name, {**row, "Roles": [role["RoleName"] for role in row["Roles"]]}
    for listed in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        yield "provider", listed["Arn"], iam.get_open_id_connect_provider(OpenIDConnectProviderArn=listed["Arn"])


def _messages(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    sqs, events = aws.client("sqs"), aws.client("events")
    for url in sqs.list_queues().get("QueueUrls", []):
        row = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        yield "queue", url.rsplit("/", 1)[1], {**row, "tags": sqs.list_queue_tags(QueueUrl=url).get("Tags", {})}
    for row in events.list_rules()["Rules"]:
        row["targets"] = events.list_targets_by_rule(Rule=row["Name"])["Targets"]
        row["tags"] = events.list_tags_for_resource(ResourceARN=row["Arn"])["Tags"]
        yield "rule", row["Name"], row


def _other(aws: EmulatedAws) -> Iterator[tuple[str, str, Row]]:
    logs, kms, s3, elb = (aws.client(name) for name in ("logs", "kms", "s3", "elbv2"))
    for row in logs.describe_log_groups()["logGroups"]:
        tags = logs.list_tags_for_resource(resourceArn=row["arn"].removesuffix(":*")).get("tags", {})
        yield "log group", row["logGroupName"], {**row, "tags": tags}
    aliases: dict[str, list[str]] = {}
    for alias in kms.list_aliases()["Aliases"]:
        aliases.setdefault(alias.get("TargetKeyId", ""), []).append(alias["AliasName"])
    for listed in kms.list_keys()["Keys"]:
        row = kms.describe_key(KeyId=listed["KeyId"])["KeyMetadata"]
        if row["KeyState"] != "PendingDeletion" and row["KeyManager"] == "CUSTOMER":
            row["tags"] = kms.list_resource_tags(KeyId=listed["KeyId"])["Tags"]
            row["rotation"] = kms.get_key_rotation_status(KeyId=listed["KeyId"])["KeyRotationEnabled"]
            yield "key", listed["KeyId"], {**row, "aliases": aliases.get(listed["KeyId"], [])}
    for bucket in s3.list_buckets()["Buckets"]:
        objects = s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
        yield "bucket", bucket["Name"], {"objects": [item["Key"] for item in objects]}
    for row in elb.describe_load_balancers()["LoadBalancers"]:
        tags = elb.describe_tags(ResourceArns=[row["LoadBalancerArn"]])["TagDescriptions"]
        yield "load balancer", row["LoadBalancerArn"], {**row, "tags": tags}
    for row in elb.describe_target_groups()["TargetGroups"]:
        tags = elb.describe_tags(ResourceArns=[row["TargetGroupArn"]])["TagDescriptions"]
        yield "target group", row["TargetGroupArn"], {**row, "tags": tags}


# Ids, ARN endings and the like that are new in every account; dates; addresses that are dealt by chance.
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_ID = re.compile(r"\b(?:[a-z]{1,9}-[0-9a-f]{8,17}|[0-9A-F]{32})\b")
_CHANCE = re.compile(r"\b(?:A[A-Z]{3}[A-Z0-9]{17}|ASSOC\w+|eks-cluster-sg-(\S+?)-[0-9a-f]{10})\b")
_FLEETING = re.compile(
    r"(?i).*(date|time|created|modified|timestamp|ip|ipaddress|macaddress|dnsname|roleid|policyid|hostedzoneid)$"
    r"|[a-z]+edat|instanceprofileid|defaultversionid|logstreams|storedbytes|association.?id|ownertoken|health"
    r"|sizeinbytes|updateid"
)


def shape(found: Found) -> list[str]:
    """One line for each thing, the same for accounts that hold the same: ids are names, what is by chance is left out."""
    names = {identifier: _name(kind, row) for (kind, identifier), row in found.items()}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {plain(key): plain(item) for key, item in value.items() if not _FLEETING.fullmatch(key)}
        if isinstance(value, list):
            return sorted((plain(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        if isinstance(value, str):
            return _without_chance(value, names)
        return value

    lines = [f"{kind} {_name(kind, row)} {json.dumps(plain(row), sort_keys=True)}" for (kind, __), row in found.items()]
    return sorted(lines)


def _name(kind: str, row: Row) -> str:
    tags = row.get("Tags") or row.get("TagSet") or row.get("tags") or []
    named = {tag["Key"]: tag.get("Value", "") for tag in tags if isinstance(tag, dict) and "Key" in tag}
    own = next((row[key] for key in ("RoleName", "PolicyName", "name", "Name", "GroupName") if row.get(key)), "")
    chosen = named.get("Name") or own or row.get("Description") or kind
    return _without_chance(str(chosen), {})


def _without_chance(text: str, names: dict[str, str]) -> str:
    known = _UUID.sub(lambda match: f"<{names.get(match[0], 'uuid')}>", _CHANCE.sub(lambda match: match[1] or "", text))
    return _ID.sub(lambda match: f"<{names.get(match[0], 'id')}>", known)


def differences(before: Found, after: Found) -> list[str]:
    """What is no longer there, new, or otherwise, thing by thing; for what must be equal to the byte."""
    changed = [f"changed: {key}" for key in before if key in after and before[key] != after[key]]
    return (
        [f"gone: {key}" for key in before if key not in after]
        + [f"new: {key}" for key in after if key not in before]
        + changed
    )


def only(found: Found, wanted: Callable[[str, Row], bool]) -> Found:
    return {key: row for key, row in found.items() if wanted(key[0], row)}
