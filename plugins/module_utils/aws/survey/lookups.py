# SPDX-License-Identifier: Apache-2.0
"""What an account and region offer: cluster versions, quotas, instance types by zone. Read only."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...names import TAG_CLUSTER
from ..base.connection import Connection
from ..base.errors import AwsError, NotFound, code_of, sentence
from ..base.tagging import tag_map
from ..reference.prices import per_hour
from ..reference.quotas import quota_key


@dataclass(frozen=True)
class Version:
    """A Kubernetes version of EKS; dates as YYYY-MM-DD, empty where AWS gives none."""

    version: str
    default: bool
    support: str
    standard_support_ends: str
    extended_support_ends: str


@dataclass(frozen=True)
class Offering:
    """An instance type and the zones that have it. Memory in MiB; `accelerators` of `accelerator` with that memory each."""

    instance_type: str
    zones: tuple[str, ...]
    vcpus: int
    memory_mib: int
    architectures: tuple[str, ...]
    accelerator: str
    manufacturer: str
    accelerators: int
    accelerator_memory_mib: int
    local_storage_gb: int
    price_per_hour: float | None

    @property
    def accelerator_memory_total_mib(self) -> int:
        return self.accelerators * self.accelerator_memory_mib


def cluster_versions(connection: Connection) -> list[Version]:
    """The versions that EKS has, newest first. Raises AwsError."""
    rows = ask(
        connection, "EKS cluster versions", "eks", "describe_cluster_versions", "clusterVersions", includeAll=True
    )
    found = [
        Version(
            version=row["clusterVersion"],
            default=bool(row.get("defaultVersion")),
            support=row.get("versionStatus") or str(row.get("status", "")).upper().replace("-", "_"),
            standard_support_ends=_day(row.get("endOfStandardSupportDate")),
            extended_support_ends=_day(row.get("endOfExtendedSupportDate")),
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: [int(part) for part in row.version.split(".")], reverse=True)


def quota(connection: Connection, service_code: str, quota_code: str) -> dict[str, Any]:
    """A quota's value for the account, or AWS's default where it was never set. Raises NotFound or AwsError."""
    subject = f"service quota {service_code}/{quota_code}"
    given = {"ServiceCode": service_code, "QuotaCode": quota_code}
    try:
        row = call(connection, subject, "service-quotas", "get_service_quota", **given)["Quota"]
    except NotFound:
        row = call(connection, subject, "service-quotas", "get_aws_default_service_quota", **given)["Quota"]
    return {"code": row["QuotaCode"], "name": row["QuotaName"], "value": row["Value"], "adjustable": row["Adjustable"]}


def offerings(
    connection: Connection, types: Sequence[str], prices: Mapping[str, float] | None = None
) -> list[Offering]:
    """The region's offers of these instance types, in their order; a type that it lacks has no zones. Raises AwsError."""
    filters = [{"Name": "instance-type", "Values": list(types)}]
    places = ask(
        connection,
        "instance offerings",
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=filters,
    )
    zones: dict[str, list[str]] = {}
    for row in places:
        zones.setdefault(row["InstanceType"], []).append(row["Location"])
    known = ask(connection, "instance types", "ec2", "describe_instance_types", "InstanceTypes", Filters=filters)
    details = {row["InstanceType"]: row for row in known}
    return [_offering(name, zones.get(name, []), details.get(name, {}), per_hour(name, prices)) for name in types]


def vcpus_in_use(connection: Connection, cluster: str) -> dict[tuple[str, str], int]:
    """vCPUs that run in the region, by family and purchase option as in QUOTAS, without those of the cluster."""
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    counts: dict[tuple[str, str], int] = {}
    reservations = ask(connection, "instances", "ec2", "describe_instances", "Reservations", Filters=alive)
    for row in (row for reservation in reservations for row in reservation["Instances"]):
        if not is_node_of(cluster, row):
            option = "spot" if row.get("InstanceLifecycle") == "spot" else "on-demand"
            counts[row["InstanceType"], option] = counts.get((row["InstanceType"], option), 0) + 1
    sizes = _vcpus(connection, sorted({name for name, __ in counts}))
    found: dict[tuple[str, str], int] = {}
    for (name, option), count in counts.items():
        key = quota_key(name, spot=option == "spot")
        found[key] = found.get(key, 0) + count * sizes.get(name, 0)
    return found


def is_node_of(cluster: str, instance: Mapping[str, Any]) -> bool:
    """Whether an instance belongs to a cluster: by our mark, or by the tags of EKS's managed groups and of Karpenter.

    Tags of a node group do not reach its instances:
    https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html
    """
    tags = tag_map(instance.get("Tags") or [])
    named = (TAG_CLUSTER, "eks:cluster-name", "eks:eks-cluster-name")
    return any(tags.get(key) == cluster for key in named) or tags.get(f"kubernetes.io/cluster/{cluster}") == "owned"


def _vcpus(connection: Connection, types: Sequence[str]) -> dict[str, int]:
    """vCPUs by instance type."""
    if not types:
        return {}
    filters = [{"Name": "instance-type", "Values": list(types)}]
    known = ask(connection, "instance types", "ec2", "describe_instance_types", "InstanceTypes", Filters=filters)
    return {row["InstanceType"]: (row.get("VCpuInfo") or {}).get("DefaultVCpus", 0) for row in known}


def _offering(name: str, zones: Iterable[str], row: Mapping[str, Any], price: float | None) -> Offering:
    accelerator = _accelerator(row)
    return Offering(
        instance_type=name,
        zones=tuple(sorted(zones)),
        vcpus=(row.get("VCpuInfo") or {}).get("DefaultVCpus", 0),
        memory_mib=(row.get("MemoryInfo") or {}).get("SizeInMiB", 0),
        architectures=tuple((row.get("ProcessorInfo") or {}).get("SupportedArchitectures", [])),
        accelerator=accelerator.get("Name", ""),
        manufacturer=accelerator.get("Manufacturer", ""),
        accelerators=accelerator.get("Count", 0),
        accelerator_memory_mib=(accelerator.get("MemoryInfo") or {}).get("SizeInMiB", 0),
        local_storage_gb=(row.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0),
        price_per_hour=price,
    )


def _accelerator(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its GPUs or Neuron devices; none is an empty map."""
    lists = [
        (row.get("GpuInfo") or {}).get("Gpus"),
        (row.get("NeuronInfo") or {}).get("NeuronDevices"),
        (row.get("InferenceAcceleratorInfo") or {}).get("Accelerators"),
    ]
    found: Mapping[str, Any] = next((rows[0] for rows in lists if rows), {})
    # Neuron devices have no manufacturer: they are AWS's own.
    return {"Manufacturer": "AWS", **found} if found else found


def call(connection: Connection, subject: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """One read. Raises NotFound or AwsError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        method = getattr(connection.client(service), operation)
        return dict(connection.retrying(functools.partial(method, **parameters)))
    except (BotoCoreError, ClientError) as error:
        raise _failure(subject, operation, error) from error


def ask(
    connection: Connection, subject: str, service: str, operation: str, result: str, **parameters: Any
) -> list[Any]:
    """A listing with all its pages. Raises NotFound or AwsError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return list(connection.pages(service, operation, **parameters).get(result) or [])
    except (BotoCoreError, ClientError) as error:
        raise _failure(subject, operation, error) from error


def _failure(subject: str, operation: str, error: Exception) -> AwsError:
    code = code_of(error)
    kind = NotFound if "NoSuchResource" in code or "NotFound" in code else AwsError
    return kind(sentence(subject, operation, error), code)


def _day(value: Any) -> str:
    return value.date().isoformat() if value is not None else ""
