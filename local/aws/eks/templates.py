# SPDX-License-Identifier: Apache-2.0
"""What EKS wants of a node group with a launch template, and what may stand in one of the two only.

https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html, .../capacity-blocks-mng.html
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .. import network, placement
from ..errors import Refusal, refuse
from ..launch_templates import version_of
from ..world import Params, Session

Data = dict[str, Any]
NOT_JOINED = "NodeCreationFailure", "Instances failed to join the kubernetes cluster"


def check_group(session: Session, params: Params) -> tuple[dict[str, str], Data]:
    """The template as the group shows it, and its data; empty for a group without. Raises Refusal."""
    given = params.get("launchTemplate")
    block = params.get("capacityType") == "CAPACITY_BLOCK"
    if not given:
        if block:
            raise refuse("eks.capacity_block")
        return {}, {}
    shown, data = _resolved(session, given)
    for parameter, identifier in (("diskSize", "eks.disk_with_template"), ("remoteAccess", "eks.remote_with_template")):
        if params.get(parameter):
            raise refuse(identifier)
    if params.get("instanceTypes") and data.get("InstanceType"):
        raise refuse("eks.types_with_template")
    if block and not _is_block(data):
        raise refuse("eks.capacity_block")
    _check_data(session, data)
    if data.get("ImageId") and params.get("amiType") not in (None, "CUSTOM"):
        raise refuse("eks.image_ami_type")
    _check_image(data, params)
    return shown, data


def _check_image(data: Data, params: Params) -> None:
    """With an image of its own a group has no version: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html#launch-template-custom-ami"""
    for parameter, identifier in (("version", "eks.image_version"), ("releaseVersion", "eks.image_release")):
        if data.get("ImageId") and params.get(parameter):
            raise refuse(identifier)


def check_age(ami_type: str, version: str) -> None:
    """Raises Refusal: images of Amazon Linux 2 end with Kubernetes 1.32."""
    if ami_type.startswith("AL2_") and int(version.split(".")[1]) > 32:
        raise refuse("eks.ami_type_too_old", type=ami_type)


def fails_to_start(session: Session, data: Data, subnets: list[str], count: int) -> tuple[str, str] | None:
    """Code and message of a group whose nodes do not start or never join, as its health shows it.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html
    """
    group = (data.get("Placement") or {}).get("GroupName")
    zones = {getattr(network.subnet(session, one), "availability_zone", "") for one in subnets}
    strategy = placement.strategy_of(session, group) if group else ""
    # https://github.com/hashicorp/terraform/issues/8064, terraform-aws-eks issue 3044
    if strategy == "cluster" and len(zones) > 1 and count:
        said = f"The placement group '{group}' is in use in another availability zone. Launching EC2 instance failed."
        return "AsgInstanceLaunchFailures", said
    # A rack spread group has at most seven instances in a zone.
    if strategy == "spread" and count > 7 * len(zones):
        return (
            "AsgInstanceLaunchFailures",
            "You have reached the maximum of 7 instances per zone of the placement group.",
        )
    said = (data.get("UserData") or b"").decode()
    wanted = ("apiServerEndpoint", "certificateAuthority", "cidr")
    if data.get("ImageId") and count and not all(member in said for member in wanted):
        return NOT_JOINED
    return None


def check_processors(ami_type: str, instance_types: list[str]) -> None:
    """Raises Refusal for types that cannot run the image."""
    wanted = "arm64" if "_ARM_64" in ami_type else "x86_64"
    for name in instance_types:
        row = INSTANCE_TYPES.get(name)
        if row is not None and wanted not in row["ProcessorInfo"]["SupportedArchitectures"]:
            raise refuse("eks.image_processor", type=name, ami=ami_type)


def check_update(session: Session, row: dict[str, Any], params: Params) -> tuple[dict[str, str], Data]:
    """The group's next template version and its data. Raises Refusal."""
    have = row.get("launchTemplate")
    given = params.get("launchTemplate")
    if not given:
        return (have, _data_of(session, have)) if have else ({}, {})
    if not have:
        raise refuse("eks.no_template_at_creation")
    shown, data = _resolved(session, given)
    if shown["id"] != have["id"]:
        raise refuse("eks.other_template")
    _check_data(session, data)
    _check_image(data, params)
    if row["capacityType"] == "CAPACITY_BLOCK" and row["scalingConfig"]["desiredSize"]:
        raise refuse("eks.capacity_block_update")
    return shown, data


def _resolved(session: Session, given: dict[str, str]) -> tuple[dict[str, str], Data]:
    if bool(given.get("id")) == bool(given.get("name")):
        raise refuse("eks.template_id_or_name")
    template, version = version_of(session, given)
    return {"id": template.id, "name": template.name, "version": str(version.number)}, version.data


def _data_of(session: Session, have: dict[str, str]) -> Data:
    """The data that a group has; EKS keeps a copy of a template that is gone."""
    try:
        return _resolved(session, {"id": have["id"], "version": have["version"]})[1]
    except Refusal:
        return {}


def _is_block(data: Data) -> bool:
    target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
    market = (data.get("InstanceMarketOptions") or {}).get("MarketType")
    return bool(market == "capacity-block" and target and data.get("InstanceType"))


def _check_data(session: Session, data: Data) -> None:
    if data.get("ImageId") and data["ImageId"] not in network.ec2(session).amis:
        raise refuse("eks.no_image", id=data["ImageId"])
    interfaces = data.get("NetworkInterfaces") or []
    for forbidden, what in (
        (data.get("IamInstanceProfile"), "an IAM instance profile"),
        (data.get("InstanceInitiatedShutdownBehavior"), "a shutdown behavior"),
        (data.get("HibernationOptions"), "a hibernation behavior"),
        ([one for one in interfaces if one.get("SubnetId")], "a subnet"),
    ):
        if forbidden:
            raise refuse("eks.template_forbids", what=what)
    merged = data.get("UserData") if not data.get("ImageId") else None
    if merged and "multipart/mixed" not in merged.decode().partition("\n\n")[0]:
        raise refuse("eks.user_data")
