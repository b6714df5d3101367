# SPDX-License-Identifier: Apache-2.0
"""Amazon EFS: file systems, mount targets, access points, lifecycle, backup.

https://docs.aws.amazon.com/efs/latest/ug/API_Operations.html
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from typing import Any

from . import network
from .errors import refuse
from .world import Params, Result, Session, operation

Row = dict[str, Any]


@dataclass
class Store:
    """Rows by id; `lifecycle`, `backup`, `policies` by file system, `groups` by mount target."""

    systems: dict[str, Row] = field(default_factory=dict)
    targets: dict[str, Row] = field(default_factory=dict)
    points: dict[str, Row] = field(default_factory=dict)
    lifecycle: dict[str, list[Row]] = field(default_factory=dict)
    backup: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)


def _store(session: Session) -> Store:
    found: Store = session.store("efs", Store)
    return found


def _system(session: Session, identifier: str) -> Row:
    found = _store(session).systems.get(identifier)
    if found is None:
        raise refuse("efs.no_file_system", id=identifier)
    return found


def tags_of(session: Session, identifier: str) -> list[Row]:
    """Of a file system; none for one that does not exist."""
    tags: list[Row] = _store(session).systems.get(identifier, {}).get("Tags", [])
    return tags


def _available(session: Session, identifier: str) -> Row:
    found = _system(session, identifier)
    if found["LifeCycleState"] != "available":
        raise refuse("efs.file_system_state", id=identifier, state=found["LifeCycleState"])
    return found


def _named(tags: list[Row]) -> str:
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == "Name"), "")


@operation("efs", "CreateFileSystem")
def create_file_system(session: Session, params: Params) -> Result:
    store = _store(session)
    token = params["CreationToken"]
    for other in store.systems.values():
        if other["CreationToken"] == token:
            raise refuse("efs.file_system_exists", id=other["FileSystemId"], token=token)
    mode = params.get("ThroughputMode") or "bursting"
    if (mode == "provisioned") != ("ProvisionedThroughputInMibps" in params):
        raise refuse("efs.provisioned_throughput")
    identifier = session.identifier("fs-")
    tags = list(params.get("Tags") or [])
    row: Row = {
        "OwnerId": session.account,
        "CreationToken": token,
        "FileSystemId": identifier,
        "FileSystemArn": session.arn("elasticfilesystem", f"file-system/{identifier}"),
        "CreationTime": session.now(),
        "LifeCycleState": "creating",
        "Name": _named(tags),
        "NumberOfMountTargets": 0,
        "SizeInBytes": {"Value": 6144, "ValueInIA": 0, "ValueInStandard": 6144},
        "PerformanceMode": params.get("PerformanceMode") or "generalPurpose",
        "Encrypted": bool(params.get("Encrypted")),
        "ThroughputMode": mode,
        "Tags": tags,
        "FileSystemProtection": {"ReplicationOverwriteProtection": "ENABLED"},
    }
    if params.get("KmsKeyId") or params.get("Encrypted"):
        row["KmsKeyId"] = params.get("KmsKeyId") or session.arn("kms", f"key/{session.uuid()}")
    for key in ("ProvisionedThroughputInMibps", "AvailabilityZoneName"):
        if params.get(key):
            row[key] = params[key]
    store.systems[identifier] = row
    store.backup[identifier] = "ENABLED" if params.get("Backup") else "DISABLED"
    session.world.after(session.delay("file-system"), lambda: row.update(LifeCycleState="available"))
    return row


@operation("efs", "DescribeFileSystems")
def describe_file_systems(session: Session, params: Params) -> Result:
    rows = list(_store(session).systems.values())
    if params.get("FileSystemId"):
        rows = [_system(session, params["FileSystemId"])]
    if params.get("CreationToken"):
        rows = [row for row in rows if row["CreationToken"] == params["CreationToken"]]
    return {"FileSystems": rows}


@operation("efs", "UpdateFileSystem")
def update_file_system(session: Session, params: Params) -> Result:
    row = _available(session, params["FileSystemId"])
    mode = params.get("ThroughputMode") or row["ThroughputMode"]
    if (mode == "provisioned") != ("ProvisionedThroughputInMibps" in params):
        raise refuse("efs.provisioned_throughput")
    row["ThroughputMode"] = mode
    row.pop("ProvisionedThroughputInMibps", None)
    if params.get("ProvisionedThroughputInMibps"):
        row["ProvisionedThroughputInMibps"] = params["ProvisionedThroughputInMibps"]
    row["LifeCycleState"] = "updating"
    session.world.after(session.delay("file-system"), lambda: row.update(LifeCycleState="available"))
    return row


@operation("efs", "DeleteFileSystem")
def delete_file_system(session: Session, params: Params) -> Result:
    row = _system(session, params["FileSystemId"])
    if row["NumberOfMountTargets"]:
        raise refuse("efs.file_system_in_use", id=row["FileSystemId"])
    store = _store(session)
    row["LifeCycleState"] = "deleting"

    def gone() -> None:
        store.systems.pop(row["FileSystemId"], None)
        for identifier in [i for i, p in store.points.items() if p["FileSystemId"] == row["FileSystemId"]]:
            del store.points[identifier]

    session.world.after(session.delay("file-system-delete"), gone)
    return {}


@operation("efs", "PutLifecycleConfiguration")
def put_lifecycle_configuration(session: Session, params: Params) -> Result:
    _available(session, params["FileSystemId"])
    _store(session).lifecycle[params["FileSystemId"]] = params["LifecyclePolicies"]
    return {"LifecyclePolicies": params["LifecyclePolicies"]}


@operation("efs", "DescribeLifecycleConfiguration")
def describe_lifecycle_configuration(session: Session, params: Params) -> Result:
    _system(session, params["FileSystemId"])
    return {"LifecyclePolicies": _store(session).lifecycle.get(params["FileSystemId"], [])}


@operation("efs", "PutBackupPolicy")
def put_backup_policy(session: Session, params: Params) -> Result:
    _available(session, params["FileSystemId"])
    _store(session).backup[params["FileSystemId"]] = params["BackupPolicy"]["Status"]
    return {"BackupPolicy": params["BackupPolicy"]}


@operation("efs", "DescribeBackupPolicy")
def describe_backup_policy(session: Session, params: Params) -> Result:
    _system(session, params["FileSystemId"])
    return {"BackupPolicy": {"Status": _store(session).backup[params["FileSystemId"]]}}


@operation("efs", "PutFileSystemPolicy")
def put_file_system_policy(session: Session, params: Params) -> Result:
    _available(session, params["FileSystemId"])
    arn = _system(session, params["FileSystemId"])["FileSystemArn"]
    statements = json.loads(params["Policy"]).get("Statement") or []
    if not statements or any(one.get("Resource", arn) != arn for one in statements):
        raise refuse("efs.policy")
    _require_principals(session, statements)
    _store(session).policies[params["FileSystemId"]] = params["Policy"]
    return {"FileSystemId": params["FileSystemId"], "Policy": params["Policy"]}


def _require_principals(session: Session, statements: list[Row]) -> None:
    """Refuse a role that does not exist, or is not known here yet."""
    young = datetime.timedelta(seconds=session.delay("role"))
    known = {
        role.arn
        for role in network.iam(session).get_roles()
        if session.now() - role.create_date.replace(tzinfo=datetime.UTC) >= young
    }
    for one in statements:
        named = one["Principal"]["AWS"] if isinstance(one["Principal"], dict) else []
        if any(":role/" in arn and arn not in known for arn in ([named] if isinstance(named, str) else named)):
            raise refuse("efs.policy_principal")


@operation("efs", "DescribeFileSystemPolicy")
def describe_file_system_policy(session: Session, params: Params) -> Result:
    _system(session, params["FileSystemId"])
    found = _store(session).policies.get(params["FileSystemId"])
    if found is None:
        raise refuse("efs.no_policy", id=params["FileSystemId"])
    return {"FileSystemId": params["FileSystemId"], "Policy": found}


@operation("efs", "CreateMountTarget")
def create_mount_target(session: Session, params: Params) -> Result:
    store = _store(session)
    system = _available(session, params["FileSystemId"])
    subnet = network.subnet(session, params["SubnetId"])
    if subnet is None:
        raise refuse("efs.no_subnet", id=params["SubnetId"])
    groups = params.get("SecurityGroups") or []
    network.require_groups(session, groups, "efs.no_security_group")
    for row in store.targets.values():
        if row["FileSystemId"] == system["FileSystemId"]:
            if row["AvailabilityZoneName"] == subnet.availability_zone:
                raise refuse("efs.mount_target_conflict")
            if row["VpcId"] != subnet.vpc_id:
                raise refuse("efs.mount_target_vpc")
    identifier = session.identifier("fsmt-")
    description = f"EFS mount target for {system['FileSystemId']} ({identifier})"
    interface_id = network.make_interface(session, params["SubnetId"], groups, description)
    row = {
        "OwnerId": session.account,
        "MountTargetId": identifier,
        "FileSystemId": system["FileSystemId"],
        "SubnetId": params["SubnetId"],
        "LifeCycleState": "creating",
        "IpAddress": network.interface(session, interface_id).private_ip_address,
        "NetworkInterfaceId": interface_id,
        "AvailabilityZoneId": subnet.availability_zone_id,
        "AvailabilityZoneName": subnet.availability_zone,
        "VpcId": subnet.vpc_id,
    }
    store.targets[identifier] = row
    system["NumberOfMountTargets"] += 1
    after = "error" if session.world.fails("efs:CreateMountTarget") else "available"
    session.world.after(session.delay("mount-target"), lambda: row.update(LifeCycleState=after))
    return row


def _target(session: Session, identifier: str) -> Row:
    found = _store(session).targets.get(identifier)
    if found is None:
        raise refuse("efs.no_mount_target", id=identifier)
    return found


@operation("efs", "DescribeMountTargets")
def describe_mount_targets(session: Session, params: Params) -> Result:
    if params.get("MountTargetId"):
        return {"MountTargets": [_target(session, params["MountTargetId"])]}
    system = params.get("FileSystemId")
    if params.get("AccessPointId"):
        system = _point(session, params["AccessPointId"])["FileSystemId"]
    if not system:
        raise refuse("efs.mount_target_selector")
    _system(session, system)
    return {"MountTargets": [row for row in _store(session).targets.values() if row["FileSystemId"] == system]}


@operation("efs", "DeleteMountTarget")
def delete_mount_target(session: Session, params: Params) -> Result:
    row = _target(session, params["MountTargetId"])
    store = _store(session)
    if row["LifeCycleState"] == "deleting":
        return {}
    row["LifeCycleState"] = "deleting"

    def gone() -> None:
        store.targets.pop(row["MountTargetId"], None)
        network.remove_interface(session, row["NetworkInterfaceId"])
        if row["FileSystemId"] in store.systems:
            store.systems[row["FileSystemId"]]["NumberOfMountTargets"] -= 1

    session.world.after(session.delay("mount-target-delete"), gone)
    return {}


@operation("efs", "DescribeMountTargetSecurityGroups")
def describe_mount_target_security_groups(session: Session, params: Params) -> Result:
    row = _target(session, params["MountTargetId"])
    if row["LifeCycleState"] != "available":
        raise refuse("efs.mount_target_state", id=row["MountTargetId"], state=row["LifeCycleState"])
    interface = network.interface(session, row["NetworkInterfaceId"])
    return {"SecurityGroups": [group.id for group in interface.group_set]}


@operation("efs", "ModifyMountTargetSecurityGroups")
def modify_mount_target_security_groups(session: Session, params: Params) -> Result:
    row = _target(session, params["MountTargetId"])
    groups = params.get("SecurityGroups") or []
    network.require_groups(session, groups, "efs.no_security_group")
    backend = network.ec2(session)
    interface = network.interface(session, row["NetworkInterfaceId"])
    interface._group_set = [backend.get_security_group_from_id(group) for group in groups]
    return {}


@operation("efs", "CreateAccessPoint")
def create_access_point(session: Session, params: Params) -> Result:
    store = _store(session)
    _available(session, params["FileSystemId"])
    for row in store.points.values():
        if row["ClientToken"] == params["ClientToken"]:
            raise refuse("efs.access_point_exists", id=row["AccessPointId"])
    identifier = session.identifier("fsap-")
    tags = list(params.get("Tags") or [])
    row = {
        "ClientToken": params["ClientToken"],
        "Name": _named(tags),
        "Tags": tags,
        "AccessPointId": identifier,
        "AccessPointArn": session.arn("elasticfilesystem", f"access-point/{identifier}"),
        "FileSystemId": params["FileSystemId"],
        "RootDirectory": params.get("RootDirectory") or {"Path": "/"},
        "OwnerId": session.account,
        "LifeCycleState": "creating",
    }
    if params.get("PosixUser"):
        row["PosixUser"] = params["PosixUser"]
    store.points[identifier] = row
    session.world.after(session.delay("access-point"), lambda: row.update(LifeCycleState="available"))
    return row


def _point(session: Session, identifier: str) -> Row:
    found = _store(session).points.get(identifier)
    if found is None:
        raise refuse("efs.no_access_point", id=identifier)
    return found


@operation("efs", "DescribeAccessPoints")
def describe_access_points(session: Session, params: Params) -> Result:
    if params.get("AccessPointId"):
        return {"AccessPoints": [_point(session, params["AccessPointId"])]}
    rows = list(_store(session).points.values())
    if params.get("FileSystemId"):
        _system(session, params["FileSystemId"])
        rows = [row for row in rows if row["FileSystemId"] == params["FileSystemId"]]
    return {"AccessPoints": rows}


@operation("efs", "DeleteAccessPoint")
def delete_access_point(session: Session, params: Params) -> Result:
    row = _point(session, params["AccessPointId"])
    row["LifeCycleState"] = "deleting"
    store = _store(session)
    session.world.after(session.delay("access-point"), lambda: store.points.pop(row["AccessPointId"], None))
    return {}


def _tagged(session: Session, identifier: str) -> Row:
    return _point(session, identifier) if identifier.startswith("fsap-") else _system(session, identifier)


@operation("efs", "TagResource")
def tag_resource(session: Session, params: Params) -> Result:
    row = _tagged(session, params["ResourceId"])
    new = {tag["Key"]: tag for tag in params["Tags"]}
    row["Tags"] = [tag for tag in row["Tags"] if tag["Key"] not in new] + list(new.values())
    row["Name"] = _named(row["Tags"])
    return {}


@operation("efs", "UntagResource")
def untag_resource(session: Session, params: Params) -> Result:
    row = _tagged(session, params["ResourceId"])
    row["Tags"] = [tag for tag in row["Tags"] if tag["Key"] not in params["TagKeys"]]
    return {}


@operation("efs", "ListTagsForResource")
def list_tags_for_resource(session: Session, params: Params) -> Result:
    return {"Tags": _tagged(session, params["ResourceId"])["Tags"]}
