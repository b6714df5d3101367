# SPDX-License-Identifier: Apache-2.0
"""What the caller may do, by IAM's policy simulation. Read only.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...names import TAG_CLUSTER
from ..base.connection import Connection, Identity
from ..base.errors import AwsError
from .lookups import ask, call

_SESSION = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/([^/]+)/.+")
_AT_ONCE = 100
# IAM's service -> (a part of an action, empty for any; what it affects). The first that fits decides.
_ON: dict[str, tuple[tuple[str, str], ...]] = {
    "iam": (
        ("InstanceProfile", "instance-profile/{cluster}-node"),
        ("OpenIDConnect", "oidc-provider/oidc.eks.{region}.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"),
        ("ServiceLinkedRole", "role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"),
        ("Role", "role/{cluster}-node"),
        ("", "policy/{cluster}-node"),
    ),
    "eks": (
        ("CreateNodegroup", "cluster/{cluster}"),
        ("CreateAddon", "cluster/{cluster}"),
        ("CreateAccessEntry", "cluster/{cluster}"),
        ("CreatePodIdentity", "cluster/{cluster}"),
        ("Nodegroup", "nodegroup/{cluster}/system/00000000-0000-0000-0000-000000000000"),
        ("Addon", "addon/{cluster}/coredns/00000000-0000-0000-0000-000000000000"),
        ("Access", "access-entry/{cluster}/role/000000000000/{cluster}-node/00000000-0000-0000-0000-000000000000"),
        ("PodIdentity", "podidentityassociation/{cluster}/a-00000000000000000"),
        ("", "cluster/{cluster}"),
    ),
    "ec2": (("TerminateInstances", "instance/i-00000000000000000"), ("DeleteVolume", "volume/vol-00000000000000000")),
    "ecr": (("", "repository/llm.on_eks/{cluster}"),),
    "elasticloadbalancing": (
        ("LoadBalancer", "loadbalancer/net/{cluster}/0000000000000000"),
        ("TargetGroup", "targetgroup/{cluster}/0000000000000000"),
    ),
    "elasticfilesystem": (("", "file-system/fs-00000000000000000"),),
    "events": (("", "rule/{cluster}-karpenter"),),
    "kms": (("Alias", "alias/{cluster}-secrets"), ("", "key/00000000-0000-0000-0000-000000000000")),
    "logs": (("", "log-group:/aws/eks/{cluster}/cluster"),),
    "s3": (("Object", "{cluster}/locks/{cluster}"), ("", "{cluster}")),
    "sqs": (("", "{cluster}"),),
}


def principal(connection: Connection, caller: Identity) -> str:
    """The user or role whose policies decide; empty for the account's root, which may do everything.

    A session of a role is simulated as the role, whose ARN IAM is asked for. Raises AwsError for callers that IAM
    cannot simulate.
    """
    if caller.arn.endswith(":root"):
        return ""
    session = _SESSION.fullmatch(caller.arn)
    if session:
        return str(call(connection, f"role {session[1]}", "iam", "get_role", RoleName=session[1])["Role"]["Arn"])
    if ":user/" in caller.arn or ":role/" in caller.arn:
        return caller.arn
    raise AwsError(f"IAM cannot simulate the policies of {caller.arn}")


def needed(policy: Mapping[str, Any]) -> list[str]:
    """The actions that a policy document allows, sorted."""
    found: set[str] = set()
    for statement in policy["Statement"]:
        actions = statement["Action"] if statement["Effect"] == "Allow" else []
        found |= {actions} if isinstance(actions, str) else set(actions)
    return sorted(found)


def denied(connection: Connection, actions: Sequence[str], cluster: str) -> dict[str, str]:
    """Actions that the caller may not do, with who forbids them. Raises AwsError where simulating is not allowed.

    An action that is not allowed on `*` is tried again on the names that we would create: policies may be limited to
    names.
    """
    source = principal(connection, connection.identity)
    if not source:
        return {}
    first = _simulate(connection, source, cluster, [(part, ()) for part in _parts(actions)])
    again: dict[str, list[str]] = {}
    for action in first:
        again.setdefault(resource(action, connection, cluster), []).append(action)
    again.pop("", None)
    second = _simulate(connection, source, cluster, [(some, (arn,)) for arn, some in again.items()])
    bound = {action for some in again.values() for action in some}
    return {action: why for action, why in first.items() if action not in bound} | second


def resource(action: str, connection: Connection, cluster: str) -> str:
    """The ARN of a resource that the action would affect; empty where only `*` makes sense."""
    service, __, verb = action.partition(":")
    if verb.startswith(("List", "Describe")) and service != "s3":
        return ""
    form = next((found for pattern, found in _ON.get(service, ()) if pattern in verb), "").format(
        cluster=cluster, region=connection.region
    )
    if service == "s3":  # neither region nor account
        return f"arn:{connection.identity.partition}:s3:::{form}"
    return connection.arn(service, form, regional=service != "iam") if form else ""


def _simulate(
    connection: Connection, source: str, cluster: str, questions: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> dict[str, str]:
    """Of (actions, resources): those that are not allowed, with the reason."""

    def put(question: tuple[Sequence[str], Sequence[str]]) -> list[Any]:
        actions, arns = question
        on = {"ResourceArns": list(arns)} if arns else {}
        given = {
            "PolicySourceArn": source,
            "ActionNames": list(actions),
            "ContextEntries": _context(connection.region, cluster),
            **on,
        }
        return ask(connection, "permissions", "iam", "simulate_principal_policy", "EvaluationResults", **given)

    found: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(put, list(questions)):
            found |= {row["EvalActionName"]: why for row in rows if (why := _reason(row))}
    return found


def _context(region: str, cluster: str) -> list[dict[str, Any]]:
    """Context keys that our requests always have, for policies with conditions: what we change has our mark."""
    pairs = {"aws:RequestedRegion": region, "iam:PassedToService": "eks.amazonaws.com", "aws:SecureTransport": "true"}
    pairs[f"aws:ResourceTag/{TAG_CLUSTER}"] = cluster
    pairs["iam:PolicyARN"] = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
    return [
        {
            "ContextKeyName": key,
            "ContextKeyValues": [value],
            "ContextKeyType": "boolean" if value == "true" else "string",
        }
        for key, value in pairs.items()
    ]


def _reason(row: Mapping[str, Any]) -> str:
    """Who forbids it; empty where it is allowed."""
    if row["EvalDecision"] == "allowed":
        return ""
    if not (row.get("OrganizationsDecisionDetail") or {}).get("AllowedByOrganizations", True):
        return "the organization forbids it"
    if not (row.get("PermissionsBoundaryDecisionDetail") or {}).get("AllowedByPermissionsBoundary", True):
        return "the permissions boundary does not hold it"
    return "a policy denies it" if row["EvalDecision"] == "explicitDeny" else "no policy allows it"


def _parts(actions: Sequence[str]) -> list[Sequence[str]]:
    return [actions[at : at + _AT_ONCE] for at in range(0, len(actions), _AT_ONCE)]
