# SPDX-License-Identifier: Apache-2.0
"""What controllers in a cluster created on AWS and left behind: load balancers, instances, volumes, interfaces.

By their mark only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..base.connection import Connection, patience
from ..base.errors import AwsError
from .census import census
from .item import Item
from .lookups import call

# In the order in which they can be deleted.
KINDS = (
    *("elb_load_balancer", "elb_target_group", "ec2_instance", "ec2_volume", "ec2_network_interface"),
    "ec2_launch_template",
)
# The load balancer controller creates groups, Karpenter templates, and so do components: what is described is not left behind.
GROUP = "ec2_security_group"
_REMOVE: dict[str, tuple[str, str, Callable[[str], dict[str, Any]]]] = {
    "elb_load_balancer": ("elbv2", "delete_load_balancer", lambda one: {"LoadBalancerArn": one}),
    "elb_target_group": ("elbv2", "delete_target_group", lambda one: {"TargetGroupArn": one}),
    "ec2_instance": ("ec2", "terminate_instances", lambda one: {"InstanceIds": [one]}),
    "ec2_volume": ("ec2", "delete_volume", lambda one: {"VolumeId": one}),
    "ec2_network_interface": ("ec2", "delete_network_interface", lambda one: {"NetworkInterfaceId": one}),
    "ec2_launch_template": ("ec2", "delete_launch_template", lambda one: {"LaunchTemplateId": one}),
    GROUP: ("ec2", "delete_security_group", lambda one: {"GroupId": one}),
}
# Still used by something that is being deleted: try again.
_HELD = ("DependencyViolation", "ResourceInUse", "InvalidNetworkInterface.InUse", "VolumeInUse")


def left_behind(connection: Connection, cluster: str, described: Collection[str] = ()) -> list[Item]:
    """The leftovers that exist now, in the order of their removal; nodes of a node group go with it, and disks with their nodes.

    `described`: ids of what components describe. Raises AwsError where a service cannot be asked.
    """
    found = census(connection, cluster, (*KINDS, GROUP))
    if found.unseen:
        raise AwsError(f"cluster {cluster}: {found.unseen[0]}")
    items = [
        item for item in found.items if item.id not in described and item.state != "shutting-down" and not item.part_of
    ]
    order = (*KINDS, GROUP)
    return sorted(items, key=lambda item: (order.index(item.kind), item.id))


def remove(connection: Connection, cluster: str, item: Item, *, timeout_s: float = 600) -> None:
    """Take one away and wait until it is gone. Raises AwsError."""
    service, operation, parameters = _REMOVE[item.kind]
    started, said = connection.now(), False
    if item.kind == "elb_load_balancer":
        _unprotect(connection, item)
    while True:
        elapsed, refused = connection.now() - started, None
        try:
            call(connection, f"{item.kind} {item.name or item.id}", service, operation, **parameters(item.id))
        except AwsError as error:
            if elapsed > timeout_s:
                raise
            refused = None if error.code in _HELD or "NotFound" in error.code else error
        if not any(one.id == item.id for one in census(connection, cluster, [item.kind]).items):
            return  # what is gone has no mark: permissions that ask for it refuse the call
        if refused:
            raise refused
        if elapsed > timeout_s:
            raise AwsError(
                f"{item.kind} {item.name or item.id} is still there {timeout_s:.0f} s after its deletion "
                f"({item.state or 'AWS does not say why'}); see the AWS console for what holds it, then run this again"
            )
        if not said:
            said = True
            connection.say(f"{item.kind} {item.name or item.id} is being deleted (waiting up to {timeout_s:.0f} s)")
        connection.sleep(patience(elapsed))


def _unprotect(connection: Connection, item: Item) -> None:
    """Turn off deletion protection: such a load balancer cannot be deleted."""
    attributes = [{"Key": "deletion_protection.enabled", "Value": "false"}]
    try:
        call(
            connection,
            f"load balancer {item.name}",
            "elbv2",
            "modify_load_balancer_attributes",
            LoadBalancerArn=item.id,
            Attributes=attributes,
        )
    except AwsError as error:
        if "NotFound" not in error.code:
            raise
