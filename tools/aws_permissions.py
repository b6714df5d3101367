# SPDX-License-Identifier: Apache-2.0
"""The IAM policy that a deployer needs: every operation that the code can call, and the permissions that those need in turn.

The operations are read from the code, not recorded from runs: so the policy also covers what no test happens to call (a
removal after a crash, an upgrade, a lock).
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tools import aws_scopes

REPO = Path(__file__).resolve().parents[1]
# Folders with calls to AWS. A folder below module_utils/aws with the name of a service contains that service's kinds.
_CODE = (
    *("plugins/module_utils/aws", "plugins/plugin_utils/locks", "plugins/plugin_utils/preflight/aws"),
    *("plugins/plugin_utils/kubernetes", "plugins/plugin_utils/images", "tools/images"),
)
SERVICES = (
    *("ec2", "ecr", "efs", "eks", "elbv2", "events", "iam", "kms", "logs", "pricing", "s3", "service-quotas", "sqs"),
)
# IAM's prefix of a service, where it differs from botocore's name.
_PREFIXES = {
    "efs": "elasticfilesystem",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "service-quotas": "servicequotas",
}
# IAM's name of an action where it is not the operation's.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
_ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:DeleteObjects": "s3:DeleteObjectVersion",
}
# Permissions of the caller that a call needs besides its own action. Tags at creation always need a permission of their
# own: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
_EC2_TAGGED = (
    *("AllocateAddress", "CreateInternetGateway", "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup"),
    *("CreateSubnet", "CreateVpc", "CreateVpcEndpoint", "CreateLaunchTemplate"),
)
_IMPLIED = {
    **{f"ec2:{operation}": ["ec2:CreateTags"] for operation in _EC2_TAGGED},
    # https://github.com/hashicorp/terraform-provider-aws/issues/14038
    "ec2:CreateFlowLogs": ["ec2:CreateTags", "iam:PassRole"],
    "ecr:CreateRepository": ["ecr:TagResource"],
    # With the token that it gives, the registry is asked over HTTP:
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    "ecr:GetAuthorizationToken": [
        f"ecr:{action}"
        for action in (
            *("BatchCheckLayerAvailability", "BatchGetImage", "CompleteLayerUpload", "GetDownloadUrlForLayer"),
            *("InitiateLayerUpload", "PutImage", "UploadLayerPart"),
        )
    ],
    # https://docs.aws.amazon.com/efs/latest/ug/API_CreateMountTarget.html and its neighbours, "requires permissions for"
    "elasticfilesystem:CreateFileSystem": ["elasticfilesystem:TagResource"],
    "elasticfilesystem:CreateAccessPoint": ["elasticfilesystem:TagResource"],
    "elasticfilesystem:CreateMountTarget": [
        *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")
    ],
    "elasticfilesystem:DeleteMountTarget": ["ec2:DeleteNetworkInterface"],
    "elasticfilesystem:ModifyMountTargetSecurityGroups": ["ec2:ModifyNetworkInterfaceAttribute"],
    # https://docs.aws.amazon.com/eks/latest/userguide/security-iam-id-based-policies.html; keys: .../enable-kms.html ("kms:CreateGrant",
    # without kms:GrantIsForAWSResource); the first cluster and the first node group of an account make service-linked roles
    "eks:CreateCluster": [
        *("eks:TagResource", "iam:PassRole", "iam:GetRole", "iam:CreateServiceLinkedRole"),
        *("kms:CreateGrant", "kms:DescribeKey", "ec2:DescribeSubnets", "ec2:DescribeVpcs"),
    ],
    "eks:AssociateEncryptionConfig": ["kms:CreateGrant", "kms:DescribeKey"],
    # A group with a launch template: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-tagging
    "eks:CreateNodegroup": [
        *("eks:TagResource", "iam:PassRole", "iam:GetRole", "iam:CreateServiceLinkedRole"),
        *("ec2:CreateTags", "ec2:DescribeLaunchTemplateVersions", "ec2:RunInstances"),
    ],
    "eks:UpdateNodegroupVersion": ["ec2:CreateTags", "ec2:DescribeLaunchTemplateVersions", "ec2:RunInstances"],
    "eks:CreateAddon": ["eks:TagResource", "iam:PassRole"],
    "eks:UpdateAddon": ["iam:PassRole"],
    "eks:CreateAccessEntry": ["eks:TagResource"],
    "eks:CreatePodIdentityAssociation": ["eks:TagResource", "iam:PassRole", "iam:GetRole"],
    "eks:UpdatePodIdentityAssociation": ["iam:PassRole", "iam:GetRole"],
    "events:PutRule": ["events:TagResource"],
    "iam:AddRoleToInstanceProfile": ["iam:PassRole"],
    "iam:CreateInstanceProfile": ["iam:TagInstanceProfile"],
    "iam:CreateOpenIDConnectProvider": ["iam:TagOpenIDConnectProvider"],
    "iam:CreatePolicy": ["iam:TagPolicy"],
    "iam:CreateRole": ["iam:TagRole"],
    "kms:CreateKey": ["kms:TagResource"],
    "logs:CreateLogGroup": ["logs:TagResource"],
    # "You must have the s3:TagResource permission to create a general purpose bucket with tags" (botocore, CreateBucket)
    "s3:CreateBucket": ["s3:TagResource"],
    "sqs:CreateQueue": ["sqs:TagQueue"],
}
# Managed policies that together allow what the whole document does: one may have 6144 characters, a role 10 of them.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
PARTS = {
    "network": ("ec2", "elasticloadbalancing"),
    "cluster": ("eks", "iam", "kms"),
    "storage": ("elasticfilesystem", "logs", "s3"),
    "account": ("ecr", "events", "pricing", "servicequotas", "sqs"),
}
_READ = re.compile(r"[a-z0-9-]+:(Describe|List|Get)[A-Z].*")


def actions(calls: Iterable[str]) -> list[str]:
    """IAM actions of calls such as `efs:CreateFileSystem`, sorted. GetCallerIdentity needs none."""
    found = set()
    for call in calls:
        if not call.startswith("sts:"):
            action = own_action(call)
            found |= {action, *_IMPLIED.get(action, [])}
    return sorted(found)


def own_action(call: str) -> str:
    """The IAM action of a call, without what it needs besides."""
    service, __, operation = call.partition(":")
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    return _ACTIONS.get(action, action)


def operations() -> dict[str, set[str]]:
    """File -> every `service:Operation` that it can call: each word in it that is an operation of a service that it names."""
    found = {}
    for folder in _CODE:
        for file in sorted((REPO / folder).rglob("*.py")):
            words = set(_words(ast.parse(file.read_text(encoding="utf-8"))))
            services = {one for one in SERVICES if one == file.parent.name or any(_names(word, one) for word in words)}
            calls = {
                f"{service}:{_methods(service)[word]}"
                for service in services
                for word in words & set(_methods(service))
            }
            found[str(file.relative_to(REPO))] = calls
    return found


def tagging() -> set[str]:
    """The operations with which the kinds write tags."""
    from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES

    found = set()
    for kind in RESOURCES.values():
        if kind.tagging:
            words = [kind.tagging.put] if kind.tagging.whole else [kind.tagging.put, kind.tagging.take]
            found |= {f"{kind.service}:{_methods(kind.service)[word]}" for word in words}
    return found


def all_calls() -> set[str]:
    """Every operation that the code can call."""
    return set().union(*operations().values()) | tagging()


def _names(word: str, service: str) -> bool:
    """`ec2`, or a kind of item such as `ec2_volume`."""
    return word == service or word.startswith(f"{service}_")


def allowed(policy: Mapping[str, Any]) -> list[str]:
    """The actions that a policy document allows, on whatever."""
    found: list[str] = []
    for statement in policy["Statement"]:
        given = statement["Action"] if statement["Effect"] == "Allow" else []
        found += [given] if isinstance(given, str) else given
    return found


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Attribute):
            yield node.attr


@functools.cache
def _methods(service: str) -> dict[str, str]:
    """boto3's name of an operation -> AWS's."""
    from botocore import xform_name
    from botocore.session import get_session

    return {xform_name(name): name for name in get_session().get_service_model(service).operation_names}


def policies(calls: Iterable[str]) -> dict[str, Any]:
    """One policy document: the managed policies in one."""
    found = [statement for part in parts(calls).values() for statement in part["Statement"]]
    return {"Version": "2012-10-17", "Statement": found}


def parts(calls: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Name in PARTS -> its policy document: of each service a statement for each thing that its actions are bound to, and for all that
    are not bound one for reads and one for writes."""
    wanted = actions(calls)
    found = {}
    for part, services in PARTS.items():
        own = {service: [action for action in wanted if action.startswith(f"{service}:")] for service in services}
        bound = [one for service, some in own.items() for one in aws_scopes.statements(service, some)]
        free = [action for some in own.values() for action in some if not aws_scopes.is_bound(action)]
        reads = [action for action in free if _READ.fullmatch(action)]
        open_to_all = [
            {"Sid": f"{part.capitalize()}{sid}", "Effect": "Allow", "Action": chosen, "Resource": "*"}
            for sid, chosen in (("Read", reads), ("Make", [action for action in free if action not in reads]))
            if chosen
        ]
        denied = [aws_scopes.ITSELF] if "iam" in services else []
        found[part] = {"Version": "2012-10-17", "Statement": [*open_to_all, *bound, *denied]}
    return found
