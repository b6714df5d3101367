# SPDX-License-Identifier: Apache-2.0
"""What a call is, as IAM sees it: actions, the resources that each is about, and the keys that conditions may ask for.

data/authorization.json has the types of each action's resources; `_ARNS` says how the parameters of a call name one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moto.kms.models import kms_backends

from tools.aws_permissions import actions, own_action

from . import conditions, efs, elb, network
from .conditions import Context
from .protocol import Call
from .world import Params, Session, Statement

_DATA = Path(__file__).parent / "data" / "authorization.json"
_HANDED_ON = "iam:PassRole"


@dataclass(frozen=True)
class Wish:
    """One action of a call. `resources`: what it is about; "*" for an action that is about none, or where it is not known.

    `bound`: whether the resources decide; what a call needs besides its own action is not always told by its parameters. `marks`: the tags
    of each of the resources.
    """

    action: str
    resources: tuple[str, ...]
    context: Context
    bound: bool = True

    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def refused_on(self, statements: Sequence[Statement]) -> str:
        """The first of the resources on which the statements do not allow it; empty where they allow all."""
        return next((arn for arn in self.resources if not self._may(statements, arn)), "")

    def _may(self, statements: Sequence[Statement], arn: str) -> bool:
        return self.effects_on(statements, arn) == {"Allow"}

    def effects_on(self, statements: Sequence[Statement], arn: str) -> set[str]:
        """Allow and Deny, where statements say so of this action on a resource."""
        return {str(one["Effect"]) for one in statements if self._is_met(one, arn)}

    def _is_met(self, statement: Statement, arn: str) -> bool:
        if not any(
            conditions.like(self.action.lower(), one.lower()) for one in conditions.list_of(statement.get("Action", []))
        ):
            return False
        if not self.bound and arn == "*":
            return str(statement["Effect"]) == "Allow"
        on = any(conditions.like(arn, one) for one in conditions.list_of(statement.get("Resource", "*")))
        tags = {f"aws:ResourceTag/{key}": (value,) for key, value in self.marks.get(arn, {}).items()}
        return on and conditions.hold(statement.get("Condition") or {}, {**self.context, **tags})


def wishes(session: Session, call: Call) -> Iterator[Wish]:
    """Everything that the caller needs to be allowed for this call."""
    name = f"{call.service}:{call.name}"
    for action in actions([name]):
        found = _resources(session, call, action)
        if found or action != _HANDED_ON:  # else no role is handed on
            own = action == own_action(name)
            yield Wish(
                action,
                found or ("*",),
                _context(session, call, action),
                own,
                {arn: tags_of(session, arn) for arn in found},
            )


@functools.cache
def types_of() -> dict[str, list[str]]:
    """Action -> types of its resources; those with a star are always evaluated."""
    found: dict[str, list[str]] = json.loads(_DATA.read_text(encoding="utf-8"))["actions"]
    return found


def _resources(session: Session, call: Call, action: str) -> tuple[str, ...]:
    """The ARNs of what an action of a call is about; empty where no parameter tells."""
    service = action.partition(":")[0]
    if action == "iam:CreateServiceLinkedRole" and service != call.service:
        return ()  # EKS makes its own
    found: list[str] = []
    for kind in types_of().get(action, []):
        name = _ARNS.get(f"{service}:{kind.rstrip('*')}")
        found += name(session, call) if name else []
    return tuple(dict.fromkeys(found))


def _context(session: Session, call: Call, action: str) -> Context:
    params = call.params
    found: dict[str, tuple[str, ...]] = {}
    if action == _HANDED_ON:
        found["iam:PassedToService"] = (_PASSED_BY.get(f"{call.service}:{call.name}", f"{call.service}.amazonaws.com"),)
    if "PolicyArn" in params:
        found["iam:PolicyARN"] = (params["PolicyArn"],)
    if call.service == "iam" and "RoleName" in params:
        role = next((role for role in network.iam(session).get_roles() if role.name == params["RoleName"]), None)
        boundary = params.get("PermissionsBoundary") or (role.permissions_boundary_arn if role else None)
        found |= {"iam:PermissionsBoundary": (boundary,)} if boundary else {}
    return found


# Who gets the role that is handed on with a call.
_PASSED_BY = {
    "eks:CreatePodIdentityAssociation": "pods.eks.amazonaws.com",
    "eks:UpdatePodIdentityAssociation": "pods.eks.amazonaws.com",
    "eks:CreateAddon": "pods.eks.amazonaws.com",
    "eks:UpdateAddon": "pods.eks.amazonaws.com",
    "iam:AddRoleToInstanceProfile": "ec2.amazonaws.com",
    "ec2:CreateFlowLogs": "vpc-flow-logs.amazonaws.com",
}


def tags_of(session: Session, arn: str) -> dict[str, str]:
    """The tags of a resource; none for one that does not exist, and of services whose actions nobody binds to tags."""
    service, name = arn.split(":")[2], arn.rsplit("/", 1)[-1]
    if service == "ec2":
        return dict(network.ec2(session).tags.get(name, {}))
    if service == "kms":
        rows = kms_backends[session.account][session.region].tagger.list_tags_for_resource(name)["Tags"]
        return {row["TagKey"]: row["TagValue"] for row in rows}
    if service == "elasticfilesystem":
        return {row["Key"]: row["Value"] for row in efs.tags_of(session, name)}
    if service == "elasticloadbalancing":
        return elb.tags_of(session, arn)
    return {}


def _iam(session: Session, kind: str, name: str, path: str = "/") -> str:
    return f"arn:{session.partition}:iam::{session.account}:{kind}{path}{name}"


def _roles(session: Session, call: Call) -> list[str]:
    params = call.params
    if "AWSServiceName" in params:
        return [_iam(session, "role", "AWSServiceRole", f"/aws-service-role/{params['AWSServiceName']}/")]
    if "RoleName" in params:
        known = {role.name: role.arn for role in network.iam(session).get_roles()}
        name = params["RoleName"]
        return [str(known.get(name) or _iam(session, "role", name, params.get("Path") or "/"))]
    return list(_handed_on(params))


def _handed_on(params: Params) -> Iterator[str]:
    """The roles that a call of another service hands on."""
    members = ("roleArn", "nodeRole", "serviceAccountRoleArn", "DeliverLogsPermissionArn")
    yield from (params[member] for member in members if params.get(member))
    for row in params.get("podIdentityAssociations") or []:
        yield row["roleArn"]


def _policies(session: Session, call: Call) -> list[str]:
    params = call.params
    if call.name == "CreatePolicy" and "PolicyName" in params:
        return [_iam(session, "policy", params["PolicyName"], params.get("Path") or "/")]
    return [params["PolicyArn"]] if "PolicyArn" in params else []


def _profiles(session: Session, call: Call) -> list[str]:
    name = call.params.get("InstanceProfileName")
    return [_iam(session, "instance-profile", name, call.params.get("Path") or "/")] if name else []


def _issuers(session: Session, call: Call) -> list[str]:
    if "Url" in call.params:
        return [_iam(session, "oidc-provider", call.params["Url"].removeprefix("https://"))]
    arn = call.params.get("OpenIDConnectProviderArn")
    return [arn] if arn else []


def _eks(kind: str, *members: str) -> Callable[[Session, Call], list[str]]:
    """A cluster, or what is in one: members of the call say which."""

    def name(session: Session, call: Call) -> list[str]:
        params = call.params
        given = params.get("resourceArn", "")
        if given:
            return [given] if f":{kind}/" in given else []
        cluster = params.get("clusterName") or params.get("name")
        parts = [params.get(member) for member in members]
        if not cluster or not all(parts):
            return []
        return [session.arn("eks", "/".join([kind, cluster, *(str(part).replace(":", "/") for part in parts)]))]

    return name


def _named(service: str, form: str, *members: str) -> Callable[[Session, Call], list[str]]:
    """What a member of the call names, by its name or its ARN."""

    def name(session: Session, call: Call) -> list[str]:
        given = next((str(call.params[member]) for member in members if call.params.get(member)), "")
        if given.startswith("arn:"):
            return [given]
        return (
            [session.arn(service, form.format(given.rsplit("/", 1)[-1] if "://" in given else given))] if given else []
        )

    return name


def _buckets(session: Session, call: Call) -> list[str]:
    name = call.params.get("Bucket")
    return [f"arn:{session.partition}:s3:::{name}"] if name else []


def _objects(session: Session, call: Call) -> list[str]:
    params, (bucket, *__) = call.params, [*_buckets(session, call), ""]
    rows: Iterable[Any] = (params.get("Delete") or {}).get("Objects") or ([params] if "Key" in params else [])
    return [f"{bucket}/{row['Key']}" for row in rows]


def _keys(session: Session, call: Call) -> list[str]:
    params = call.params
    found = [params.get("KeyId") or params.get("TargetKeyId")]
    found += [row["provider"]["keyArn"] for row in params.get("encryptionConfig") or []]
    return [one if one.startswith("arn:") else session.arn("kms", f"key/{one}") for one in found if one]


def _aliases(session: Session, call: Call) -> list[str]:
    name = call.params.get("AliasName")
    return [session.arn("kms", name)] if name else []


def _identified(service: str, form: str, *members: str) -> Callable[[Session, Call], list[str]]:
    """What members of the call identify: one, or a list."""

    def name(session: Session, call: Call) -> list[str]:
        given = [one for member in members for one in conditions.list_of(call.params.get(member) or [])]
        return [one if one.startswith("arn:") else session.arn(service, form.format(one)) for one in given]

    return name


# service:type of a resource -> the ARNs that the parameters of a call name.
_ARNS: dict[str, Callable[[Session, Call], list[str]]] = {
    "iam:role": _roles,
    "iam:policy": _policies,
    "iam:instance-profile": _profiles,
    "iam:oidc-provider": _issuers,
    "eks:cluster": _eks("cluster"),
    "eks:nodegroup": _eks("nodegroup", "nodegroupName"),
    "eks:addon": _eks("addon", "addonName"),
    "eks:access-entry": _eks("access-entry", "principalArn"),
    "eks:podidentityassociation": _eks("podidentityassociation", "associationId"),
    "ecr:repository": _named("ecr", "repository/{}", "repositoryName", "resourceArn"),
    "events:rule-on-default-event-bus": _named("events", "rule/{}", "ResourceARN", "Rule", "Name"),
    "sqs:queue": _named("sqs", "{}", "QueueUrl", "QueueName"),
    "logs:log-group": _named("logs", "log-group:{}", "resourceArn", "logGroupName"),
    "kms:key": _keys,
    "kms:alias": _aliases,
    "ec2:instance": _identified("ec2", "instance/{}", "InstanceIds"),
    "ec2:volume": _identified("ec2", "volume/{}", "VolumeId"),
    "elasticfilesystem:file-system": _identified("elasticfilesystem", "file-system/{}", "FileSystemId"),
    "elasticloadbalancing:loadbalancer": _identified("elasticloadbalancing", "loadbalancer/{}", "LoadBalancerArn"),
    "elasticloadbalancing:targetgroup": _identified("elasticloadbalancing", "targetgroup/{}", "TargetGroupArn"),
    "s3:bucket": _buckets,
    "s3:object": _objects,
}
