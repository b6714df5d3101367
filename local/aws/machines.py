# SPDX-License-Identifier: Apache-2.0
"""Instances of managed node groups, as EC2 shows them: with the tags of EKS and of a launch template, and without the group's.

"Tags don't propagate to any other resources associated with the node group":
https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html
"""

from __future__ import annotations

from typing import Any

import yaml

from . import network
from .eks.state import clusters
from .launch_templates import tags_in
from .world import Session

# One of the images that moto knows; which one does not matter.
_IMAGE = "ami-760aaa0f"


def scale(session: Session, cluster: str, row: dict[str, Any], data: dict[str, Any]) -> None:
    """Start or end instances until the group has as many as it wants. `data`: its launch template's, empty for none."""
    alive = _of(session, row["nodegroupArn"])
    wanted = row["scalingConfig"]["desiredSize"]
    for number in range(len(alive), wanted):
        _start(session, cluster, row, data, row["subnets"][number % len(row["subnets"])])
    _end(session, alive[wanted:])


def renew(session: Session, cluster: str, row: dict[str, Any], data: dict[str, Any]) -> None:
    """Replace all instances of a group, as an update of its version does."""
    end(session, row["nodegroupArn"])
    scale(session, cluster, row, data)


def end(session: Session, group: str) -> None:
    """End all instances of a group, by its ARN."""
    _end(session, _of(session, group))


def _of(session: Session, group: str) -> list[Any]:
    return [one for one in _instances(session) if getattr(one, "node_group", "") == group]


def _instances(session: Session) -> list[Any]:
    reservations = network.ec2(session).reservations.values()
    return [one for each in reservations for one in each.instances if one.state == "running"]


def _start(session: Session, cluster: str, row: dict[str, Any], data: dict[str, Any], subnet: str) -> None:
    """Tags of the launch template come beside those of EKS: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html"""
    kinds = row.get("instanceTypes") or [data.get("InstanceType") or "t3.medium"]
    tags = {
        **tags_in(data, "instance"),
        "eks:cluster-name": cluster,
        "eks:nodegroup-name": row["nodegroupName"],
        f"kubernetes.io/cluster/{cluster}": "owned",
    }
    reservation = network.ec2(session).run_instances(
        _IMAGE,
        1,
        "",
        [],
        instance_type=kinds[0],
        is_instance_type_default=True,
        subnet_id=subnet,
        security_group_ids=[],
        tags={"instance": tags},
        lifecycle="spot" if row.get("capacityType") == "SPOT" else None,
    )
    for one in reservation.instances:
        one.node_group = row["nodegroupArn"]
        one.interface_tags = _interface_tags(session, cluster, one.id)
        one.placement_group = (data.get("Placement") or {}).get("GroupName", "")
        for device in one.block_device_mapping.values():
            _tag_volume(session, device.volume_id, tags_in(data, "volume"))


def _interface_tags(session: Session, cluster: str, instance: str) -> dict[str, str]:
    """What the VPC CNI writes on its interfaces: https://github.com/aws/amazon-vpc-cni-k8s (README, ADDITIONAL_ENI_TAGS)."""
    addon = clusters(session)[cluster].addons.get("vpc-cni") or {}
    given = yaml.safe_load(addon.get("configurationValues") or "{}").get("env") or {}
    more: dict[str, str] = yaml.safe_load(given.get("ADDITIONAL_ENI_TAGS") or "{}")
    return {**more, "cluster.k8s.amazonaws.com/name": cluster, "node.k8s.amazonaws.com/instance_id": instance}


def _leave_interface(session: Session, instance: Any) -> None:
    """A node that ends while its CNI detaches an interface leaves it behind for ever.

    https://github.com/aws/amazon-vpc-cni-k8s/issues/608, 1223 and 69
    """
    left = network.ec2(session).create_network_interface(
        network.subnet(session, instance.subnet_id), None, group_ids=[], description=f"aws-K8S-{instance.id}"
    )
    left.add_tags(instance.interface_tags)


def _tag_volume(session: Session, identifier: str, tags: dict[str, str]) -> None:
    if tags:
        network.ec2(session).create_tags([identifier], tags)


def _end(session: Session, instances: list[Any]) -> None:
    """Their interfaces and root volumes are deleted with them; but see `_leave_interface`."""
    backend = network.ec2(session)
    for one in instances:
        one.teardown_defaults()
        one._state.name, one._state.code = "terminated", 48
        for eni in [eni for eni in backend.enis.values() if eni.instance is one]:
            network.remove_interface(session, eni.id)
        if session.world.leaking:
            _leave_interface(session, one)
