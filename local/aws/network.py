# SPDX-License-Identifier: Apache-2.0
"""What EKS and EFS need of moto's EC2 and IAM: subnets, interfaces, security groups, roles."""

from __future__ import annotations

import datetime
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.moto_api._internal import mock_random

from .errors import Refusal, recorded, refuse
from .world import Session


def ec2(session: Session) -> Any:
    return ec2_backends[session.account][session.region]


def iam(session: Session) -> Any:
    return iam_backends[session.account][session.partition]


def subnet(session: Session, subnet_id: str) -> Any:
    """The subnet, or None."""
    for zone in ec2(session).subnets.values():
        if subnet_id in zone:
            return zone[subnet_id]
    return None


def vpc_of_subnets(session: Session, subnet_ids: list[str], zones: int = 2) -> str:
    """The VPC that contains all of them. Raises Refusal as EKS does."""
    found = [subnet(session, subnet_id) for subnet_id in subnet_ids]
    for subnet_id, one in zip(subnet_ids, found, strict=True):
        if one is None:
            raise refuse("eks.no_subnet", id=subnet_id)
    if len({one.availability_zone for one in found}) < zones:
        raise refuse("eks.two_zones")
    if len({one.vpc_id for one in found}) != 1:
        raise refuse("eks.one_vpc")
    return str(found[0].vpc_id)


def make_cluster_security_group(session: Session, vpc_id: str, cluster: str) -> str:
    """The group that EKS creates for itself and for managed nodes; its id."""
    group = ec2(session).create_security_group(
        f"eks-cluster-sg-{cluster}-{session.identifier('', 10)}",
        "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes.",
        vpc_id=vpc_id,
        tags={
            f"kubernetes.io/cluster/{cluster}": "owned",
            "aws:eks:cluster-name": cluster,
            "Name": f"eks-cluster-sg-{cluster}",
        },
    )
    ec2(session).authorize_security_group_ingress(
        group.id, "-1", None, None, [], source_groups=[{"GroupId": group.id}], vpc_id=vpc_id
    )
    return str(group.id)


def remove_security_group(session: Session, group_id: str) -> None:
    for groups in ec2(session).groups.values():
        groups.pop(group_id, None)


def make_interface(
    session: Session, subnet_id: str, group_ids: list[str], description: str, *, public: bool = False
) -> str:
    """A network interface of a service; its id.

    While it exists, subnet and groups cannot be deleted; nor the gateway, if it is public.
    """
    interface = ec2(session).create_network_interface(
        subnet(session, subnet_id), None, group_ids=group_ids, description=description
    )
    interface.of_a_service = True
    interface.is_public = public
    return str(interface.id)


def remove_interface(session: Session, interface_id: str) -> None:
    ec2(session).enis.pop(interface_id, None)


def interface(session: Session, interface_id: str) -> Any:
    return ec2(session).enis[interface_id]


def require_groups(session: Session, group_ids: list[str], identifier: str) -> None:
    """Raises the recorded refusal when a security group does not exist."""
    for group_id in group_ids:
        if ec2(session).get_security_group_from_id(group_id) is None:
            raise refuse(identifier, id=group_id)


def require_role(session: Session, arn: str, operation: str, service: str) -> None:
    """Raises a recorded refusal of the operation when the role does not exist, or is so new that the service does not know it yet.

    The wording is random, as at AWS it depends on the order in which its parts learn of a role. A role whose trust
    policy does not name `service` is always refused.
    """
    found = next((role for role in iam(session).get_roles() if role.arn == arn), None)
    patience = datetime.timedelta(seconds=session.delay("role"))
    if found is None or session.now() - found.create_date.replace(tzinfo=datetime.UTC) < patience:
        words = sorted(
            one.id for one in recorded().values() if one.id.startswith("eks.role_") and operation in one.operations
        )
        raise refuse(words[mock_random.getrandbits(16) % len(words)], arn=arn, name=arn.rsplit("/", 1)[1])
    if f"{service}.amazonaws.com" not in str(found.assume_role_policy_document):
        raise refuse("eks.trust", arn=arn)


def require_principal(session: Session, arn: str, identifier: str) -> None:
    """A role, a user, the root or the caller."""
    known = {role.arn for role in iam(session).get_roles()} | {user.arn for user in iam(session).users.values()}
    known |= {
        session.caller_arn,
        session.world.config.caller_arn,
        f"arn:{session.partition}:iam::{session.account}:root",
    }
    if arn not in known:
        raise refuse(identifier, principal=arn)


def dependency(what: str, identifier: str) -> Refusal:
    """EC2's answer to the deletion of a resource in use."""
    return refuse("ec2.dependency", what=what, id=identifier)
