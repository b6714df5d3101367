# SPDX-License-Identifier: Apache-2.0
"""The IAM policy that a deployer needs, from the calls that were recorded while every resource was made, changed and removed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# IAM's prefix of a service where it is not botocore's name.
_PREFIXES = {"efs": "elasticfilesystem", "elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
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
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:DeleteObjects": "s3:DeleteObjectVersion",
}
# What a call needs besides its own action.
_IMPLIED = {
    "elasticfilesystem:CreateFileSystem": ["elasticfilesystem:TagResource"],
    "elasticfilesystem:CreateMountTarget": [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
    ],
    "ec2:CreateVpc": ["ec2:CreateTags"],
    "ecr:CreateRepository": ["ecr:TagResource"],
    "events:PutRule": ["events:TagResource"],
    "iam:CreateRole": ["iam:TagRole"],
    "kms:CreateKey": ["kms:TagResource"],
    "logs:CreateLogGroup": ["logs:TagResource"],
    "sqs:CreateQueue": ["sqs:TagQueue"],
    "eks:CreateCluster": ["eks:TagResource"],
}
# Services that we hand roles to.
_PASSED_TO = ["eks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com"]
_READ = re.compile(r"[a-z0-9-]+:(Describe|List|Get)[A-Z].*")


def actions(calls: Iterable[str]) -> list[str]:
    """IAM actions of calls such as `efs:CreateFileSystem`, sorted. GetCallerIdentity needs none."""
    found = set()
    for call in calls:
        service, _, operation = call.partition(":")
        action = f"{_PREFIXES.get(service, service)}:{operation}"
        action = _ACTIONS.get(action, action)
        if service != "sts":
            found |= {action, *_IMPLIED.get(action, [])}
    return sorted(found)


def policies(calls: Iterable[str]) -> dict[str, Any]:
    """One policy document: a statement to read and one to write for each service, and the roles that may be passed on."""
    wanted = actions(calls)
    statements: list[dict[str, Any]] = []
    for service in sorted({action.partition(":")[0] for action in wanted}):
        own = [action for action in wanted if action.startswith(f"{service}:")]
        for kind, chosen in (
            ("Read", [action for action in own if _READ.fullmatch(action)]),
            ("Write", [action for action in own if not _READ.fullmatch(action)]),
        ):
            if chosen:
                sid = "".join(part.capitalize() for part in service.split("-")) + kind
                statements.append({"Sid": sid, "Effect": "Allow", "Action": chosen, "Resource": "*"})
    statements.append(
        {
            "Sid": "PassRoles",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:PassedToService": _PASSED_TO}},
        }
    )
    return {"Version": "2012-10-17", "Statement": statements}
