# SPDX-License-Identifier: Apache-2.0
"""Launch templates: what moto lacks of them, and what EC2 refuses in them.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html
"""

from __future__ import annotations

from typing import Any

from . import network
from .errors import refuse
from .world import Params, Result, Session, guard, operation, overlay

# gp3: MiB/s of throughput for each provisioned I/O operation, and the least and most of both.
# https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html
_SPOT_ROLE = "AWSServiceRoleForEC2Spot"
_GP3_IOPS, _GP3_MIBS, _GP3_RATIO = (3000, 80000), (125, 2000), 0.25


def version_of(session: Session, given: Params) -> tuple[Any, Any]:
    """(template, version) by id or name, and a number, $Latest or $Default. Raises Refusal."""
    backend = network.ec2(session)
    found = next(
        (
            one
            for one in backend.launch_templates.values()
            if given.get("id") == one.id or given.get("name") == one.name
        ),
        None,
    )
    if found is None:
        raise refuse("ec2.no_launch_template", id=given.get("id") or given.get("name"))
    wanted = given.get("version") or "$Default"
    if wanted.isdigit() and int(wanted) > len(found.versions):
        raise refuse("ec2.no_launch_template_version", id=found.id, version=wanted)
    return found, found.get_version(wanted)


def tags_in(data: dict[str, Any], resource_type: str) -> dict[str, str]:
    """The tags that a template gives to instances or volumes."""
    return {
        tag["Key"]: tag["Value"]
        for specification in data.get("TagSpecifications") or []
        if specification["ResourceType"] == resource_type
        for tag in specification.get("Tags") or []
    }


@guard("ec2", "CreateLaunchTemplate")
def check_template(session: Session, params: Params) -> None:
    _check(params["LaunchTemplateData"])


@guard("ec2", "CreateLaunchTemplateVersion")
def check_version(session: Session, params: Params) -> None:
    _check(params["LaunchTemplateData"])


def _check(data: dict[str, Any]) -> None:
    if data.get("SecurityGroupIds") and data.get("NetworkInterfaces"):
        raise refuse("ec2.groups_and_interfaces")
    for device in data.get("BlockDeviceMappings") or []:
        volume = device.get("Ebs") or {}
        iops, mibs = volume.get("Iops", _GP3_IOPS[0]), volume.get("Throughput", _GP3_MIBS[0])
        if volume.get("Throughput") and volume.get("VolumeType") != "gp3":
            raise refuse("ec2.throughput_of_type", type=volume.get("VolumeType", "gp2"))
        if volume.get("VolumeType") == "gp3" and (
            not _GP3_IOPS[0] <= iops <= _GP3_IOPS[1]
            or not _GP3_MIBS[0] <= mibs <= _GP3_MIBS[1]
            or mibs > iops * _GP3_RATIO
        ):
            raise refuse("ec2.gp3_range", iops=iops, throughput=mibs)


@overlay("ec2", "CreateLaunchTemplate")
def create_launch_template(session: Session, params: Params, result: Result) -> Result:
    """moto adds the template's own tags to those of its instances."""
    __, first = version_of(session, {"id": result["LaunchTemplate"]["LaunchTemplateId"], "version": "1"})
    first.data = {key: value for key, value in first.data.items() if key != "TagSpecifications"}
    if params["LaunchTemplateData"].get("TagSpecifications"):
        first.data["TagSpecifications"] = params["LaunchTemplateData"]["TagSpecifications"]
    first.instance_tags = tags_in(first.data, "instance")
    return result


@operation("ec2", "DescribeLaunchTemplates")
def describe_launch_templates(session: Session, params: Params) -> Result:
    """moto cuts the list after 15 without saying so."""
    backend = network.ec2(session)
    for identifier in params.get("LaunchTemplateIds") or []:
        version_of(session, {"id": identifier})
    for name in params.get("LaunchTemplateNames") or []:
        version_of(session, {"name": name})
    filters = {one["Name"]: one["Values"] for one in params.get("Filters") or []}
    found = backend.describe_launch_templates(
        params.get("LaunchTemplateNames"), params.get("LaunchTemplateIds"), filters
    )
    return {"LaunchTemplates": [_row(session, one) for one in found]}


def _row(session: Session, template: Any) -> Result:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": template.create_time,
        "CreatedBy": session.caller_arn,
        "DefaultVersionNumber": template.default_version_number,
        "LatestVersionNumber": template.latest_version_number,
        "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in template.get_tags()],
    }


@overlay("ec2", "CreateFleet")
def create_fleet(session: Session, params: Params, result: Result) -> Result:
    """moto's instances lack their template's security groups. Spot needs the account's service-linked role."""
    backend = network.ec2(session)
    spot = (params.get("TargetCapacitySpecification") or {}).get("DefaultTargetCapacityType") == "spot"
    if spot and not any(role.name == _SPOT_ROLE for role in network.iam(session).get_roles()):
        return _without_spot(session, result)
    for row in result.get("Instances") or []:
        given = (row.get("LaunchTemplateAndOverrides") or {}).get("LaunchTemplateSpecification") or {}
        found = {"id": given.get("LaunchTemplateId"), "version": str(given.get("Version") or "$Default")}
        groups = _groups(version_of(session, found)[1].data)
        for identifier in row["InstanceIds"] if groups else []:
            instance = backend.get_instance(identifier)
            wanted = [backend.get_security_group_from_id(group) for group in groups]
            instance.security_groups = wanted
            for eni in instance.nics.values():
                eni._group_set = wanted
    return result


def _without_spot(session: Session, result: Result) -> Result:
    """An instant fleet answers with errors. https://github.com/aws/karpenter-provider-aws/pull/7998"""
    errors = []
    for row in result.get("Instances") or []:
        network.ec2(session).terminate_instances(row["InstanceIds"])
        for identifier in row["InstanceIds"]:
            for kept in network.ec2(session).reservations.values():
                kept.instances = [one for one in kept.instances if one.id != identifier]
        said = (
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances."
        )
        error = {"ErrorCode": "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "ErrorMessage": said}
        errors.append({**error, "Lifecycle": "spot", "LaunchTemplateAndOverrides": row["LaunchTemplateAndOverrides"]})
    return {**result, "Instances": [], "Errors": errors}


def _groups(data: dict[str, Any]) -> list[str]:
    first = (data.get("NetworkInterfaces") or [{}])[0]
    return list(data.get("SecurityGroupIds") or first.get("Groups") or [])
