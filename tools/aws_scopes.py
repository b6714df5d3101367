# SPDX-License-Identifier: Apache-2.0
"""What the published permissions are bound to: the names of our resources, where IAM lets an action be bound and the name is known.

Which actions take which resources: https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# Names of clusters, and of all that is named after them, begin like this; repositories are those of role `registry`; buckets have
# names of users' own. Role `registry` writes other names in their place.
NAMES, IMAGES, BUCKETS = "llm-*", "llm.on_eks/*", "arn:*:s3:::*"
# The role of role `registry` with these permissions, and its policies.
DEPLOYER = "llm-deployer"
_HANDED_ON = "iam:PassRole"
_IAM = "arn:*:iam::*"
# Services to which we pass roles; instances in China have a principal of their own.
_PASSED_TO = [
    *("eks.amazonaws.com", "ec2.amazonaws.com", "ec2.amazonaws.com.cn", "pods.eks.amazonaws.com"),
    "vpc-flow-logs.amazonaws.com",
]
_OURS = {"StringLike": {"aws:ResourceTag/llm.on_eks/cluster": NAMES}}


@dataclass(frozen=True)
class Scope:
    """Actions that are bound to the same: `pattern` of a whole action, ARNs, conditions. `sid`: what follows the service's name."""

    sid: str
    pattern: str
    resources: tuple[str, ...]
    condition: dict[str, Any] = field(default_factory=dict)

    def takes(self, action: str) -> bool:
        return re.fullmatch(self.pattern, action) is not None


# The first that takes an action decides. Reads stand on all resources: to tell what is ours everything is looked through.
SCOPES = (
    Scope("PassRoles", _HANDED_ON, (f"{_IAM}:role/{NAMES}",), {"StringEquals": {"iam:PassedToService": _PASSED_TO}}),
    Scope("ServiceRoles", r"iam:\w+ServiceLinkedRole", (f"{_IAM}:role/aws-service-role/*",)),
    Scope("Issuers", r"iam:(?!Get|List)\w*OpenIDConnect\w+", (f"{_IAM}:oidc-provider/oidc.eks.*",)),
    # AWS's policies for its services: neither AdministratorAccess nor IAMFullAccess.
    Scope(
        "Attach",
        r"iam:AttachRolePolicy",
        (f"{_IAM}:role/{NAMES}",),
        {
            "ArnLike": {
                "iam:PolicyARN": [
                    *("arn:*:iam::aws:policy/Amazon*", "arn:*:iam::aws:policy/service-role/Amazon*"),
                    f"{_IAM}:policy/{NAMES}",
                ]
            }
        },
    ),
    # With these a role gets more rights: role `registry` can ask for a permissions boundary here.
    Scope("Grant", r"iam:(CreateRole|PutRolePolicy|PutRolePermissionsBoundary)", (f"{_IAM}:role/{NAMES}",)),
    Scope(
        "Write",
        r"iam:(?!Get|List|Simulate)\w+",
        tuple(f"{_IAM}:{kind}/{NAMES}" for kind in ("role", "policy", "instance-profile")),
    ),
    # EKS binds the creation of a cluster to nothing.
    Scope("Write", r"eks:(?!CreateCluster$|Describe|List)\w+", (f"arn:*:eks:*:*:*/{NAMES}",)),
    Scope("Write", r"ecr:(?!Describe|Get|List)\w+", (f"arn:*:ecr:*:*:repository/{IMAGES}",)),
    Scope("Write", r"events:(?!Describe|List)\w+", (f"arn:*:events:*:*:rule/{NAMES}",)),
    Scope("Write", r"sqs:(?!Get|List)\w+", (f"arn:*:sqs:*:*:{NAMES}",)),
    Scope(
        "Write",
        r"logs:(?!Describe|List)\w+",
        tuple(f"arn:*:logs:*:*:log-group:{folder}{NAMES}" for folder in ("/aws/eks/", "/vpc/")),
    ),
    # What holds data or serves somebody ends only with our mark on it.
    Scope(
        "End", r"ec2:(TerminateInstances|DeleteVolume)", ("arn:*:ec2:*:*:instance/*", "arn:*:ec2:*:*:volume/*"), _OURS
    ),
    Scope("End", r"elasticfilesystem:DeleteFileSystem", ("arn:*:elasticfilesystem:*:*:file-system/*",), _OURS),
    Scope("End", r"elasticloadbalancing:Delete\w+", ("arn:*:elasticloadbalancing:*",), _OURS),
    Scope("End", r"kms:ScheduleKeyDeletion", ("arn:*:kms:*:*:key/*",), _OURS),
    Scope("Aliases", r"kms:\w+Alias", (f"arn:*:kms:*:*:alias/{NAMES}", "arn:*:kms:*:*:key/*")),
    Scope("Write", r"s3:(?!ListAllMyBuckets)\w+", (BUCKETS,)),
)
# What AWS names: identifiers of networks, file systems, keys, load balancers. Conditions on tags could bind more of it; whether they
# hold for what was made a moment ago AWS does not say.
UNNAMED = ("ec2", "elasticfilesystem", "elasticloadbalancing", "kms")
# A deployer that has these permissions by role `registry` cannot give itself more.
ITSELF: dict[str, Any] = {
    "Sid": "NotItself",
    "Effect": "Deny",
    "Action": [
        f"iam:{verb}*" for verb in ("Attach", "Create", "Delete", "Detach", "PassRole", "Put", "Tag", "Untag", "Update")
    ],
    "Resource": [f"{_IAM}:role/{DEPLOYER}", f"{_IAM}:policy/{DEPLOYER}-*"],
}


def statements(service: str, actions: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The bound statements of a service's actions."""
    taken: set[str] = set()
    for scope in SCOPES:
        chosen = [action for action in actions if action not in taken and scope.takes(action)]
        taken |= set(chosen)
        if chosen:
            sid = scope.sid if scope.sid == "PassRoles" else sid_of(service, scope.sid)
            found = {"Sid": sid, "Effect": "Allow", "Action": chosen, "Resource": list(scope.resources)}
            yield {**found, "Condition": scope.condition} if scope.condition else found


def is_bound(action: str) -> bool:
    return any(scope.takes(action) for scope in SCOPES)


def sid_of(service: str, what: str) -> str:
    return "".join(part.capitalize() for part in service.split("-")) + what
