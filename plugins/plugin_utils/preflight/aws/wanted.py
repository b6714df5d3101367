# SPDX-License-Identifier: Apache-2.0
"""What a run is about to make on AWS, as far as checks before it ask: read from the inventory's variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....module_utils.aws.estimate.model_size import Given
from ..findings import Place

Values = Mapping[str, Any]
# Engines that compute on processors as well.
_CPU_ENGINES = ("llamacpp",)


@dataclass(frozen=True)
class NodeGroup:
    """A managed node group. `variable`: the one that describes it."""

    name: str
    instance_types: tuple[str, ...]
    desired: int
    maximum: int
    spot: bool = False
    variable: str = "node_groups_system"


@dataclass(frozen=True)
class Model:
    """A catalogue entry that is to be served. `instance_types` empty: it runs on the processors of node groups."""

    given: Given
    instance_types: tuple[str, ...] = ()
    minimum: int = 1
    maximum: int = 1
    engine: str = ""

    @property
    def name(self) -> str:
        return self.given.name

    @property
    def cpu(self) -> bool:
        return not self.instance_types or self.engine in _CPU_ENGINES


@dataclass(frozen=True)
class Network:
    """`vpc_id` not empty: a VPC that is there already, with its subnets. `zones` by their whole names."""

    cidr: str = ""
    zones: tuple[str, ...] = ()
    nat_gateways: int = 0
    interface_endpoints: int = 0
    vpc_id: str = ""
    private_subnet_ids: tuple[str, ...] = ()
    public_subnet_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Name:
    """Something that is made under a name which must be free, or ours. `kind`: of the resource catalogue."""

    kind: str
    name: str
    variable: str = "platform_cluster_name"


@dataclass(frozen=True)
class Wanted:
    """`adopt`: the cluster is there already and stays as it is. `places`: where the inventory sets a variable."""

    cluster: str
    region: str
    version: str = ""
    support_type: str = "STANDARD"
    adopt: bool = False
    service_cidr: str = ""
    network: Network = Network()
    node_groups: tuple[NodeGroup, ...] = ()
    models: tuple[Model, ...] = ()
    names: tuple[Name, ...] = ()
    state_bucket: str = ""
    karpenter: bool = False
    prices: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def instance_types(self) -> tuple[str, ...]:
        """All types that are asked for, each once."""
        groups = [kind for group in self.node_groups for kind in group.instance_types]
        models = [kind for model in self.models for kind in model.instance_types]
        return tuple(dict.fromkeys([*groups, *models]))


def wanted(values: Values, places: Mapping[str, Place] | None = None) -> Wanted:
    """From variables with their roles' defaults. Types are right: the argument specs were checked before."""
    name, region = str(values.get("platform_cluster_name") or ""), str(values.get("platform_aws_region") or "")
    adopt = _true(values.get("cluster_adopt"))
    karpenter = values.get("karpenter_aws_state", "skip") == "present"
    return Wanted(
        cluster=name,
        region=region,
        version=str(values.get("cluster_version") or ""),
        support_type=str(values.get("cluster_support_type") or "STANDARD"),
        adopt=adopt,
        service_cidr=str(values.get("cluster_service_cidr") or ""),
        network=_network(values, region),
        node_groups=tuple(_node_groups(values)),
        models=tuple(_models(values.get("model_catalog") or [])),
        names=tuple(_names(values, name, adopt, karpenter)),
        state_bucket=str(values.get("platform_state_bucket") or ""),
        karpenter=karpenter,
        prices={str(kind): float(price) for kind, price in (values.get("platform_prices") or {}).items()},
        places=places or {},
    )


def _network(values: Values, region: str) -> Network:
    zones = [str(zone) for zone in values.get("network_zones") or []]
    endpoints = [word for word in values.get("network_endpoints") or [] if word not in ("s3", "dynamodb")]
    given = str(values.get("network_vpc_id") or "")
    nat = {"single": 1, "per_zone": len(zones)}.get(str(values.get("network_nat") or "none"), 0)
    return Network(
        cidr="" if given else str(values.get("network_cidr") or ""),
        zones=() if given else tuple(zone if zone.startswith(region) else f"{region}{zone}" for zone in zones),
        nat_gateways=0 if given else nat,
        interface_endpoints=len(endpoints) * len(zones),
        vpc_id=given,
        private_subnet_ids=tuple(map(str, values.get("network_private_subnet_ids") or [])),
        public_subnet_ids=tuple(map(str, values.get("network_public_subnet_ids") or [])),
    )


def _node_groups(values: Values) -> list[NodeGroup]:
    if values.get("node_groups_state", "present") != "present":
        return []
    found = []
    system = values.get("node_groups_system")
    if system:
        found.append(_group({"name": "system", **system}, "node_groups_system"))
    return [*found, *(_group(row, "node_groups_extra") for row in values.get("node_groups_extra") or [])]


def _group(row: Values, variable: str) -> NodeGroup:
    # 1 and 3 are what the role takes where a group does not say.
    least, most = int(row.get("min_size") or 0) if "min_size" in row else 1, int(row.get("max_size") or 3)
    return NodeGroup(
        str(row["name"]),
        tuple(map(str, row.get("instance_types") or [])),
        int(row["desired_size"]) if row.get("desired_size") is not None else least,
        most,
        row.get("capacity_type") == "SPOT",
        variable,
    )


def _models(catalog: Sequence[Values]) -> list[Model]:
    found = []
    for entry in catalog:
        if entry.get("state", "present") == "absent":
            continue
        replicas = entry.get("replicas") or {}
        least = int(replicas.get("min", 1))
        named = entry.get("accelerators") or "cpu"
        types = [named] if isinstance(named, str) else list(named)
        given = Given(
            name=str(entry["name"]),
            source=str(entry.get("source") or ""),
            context=int(entry.get("context") or 4096),
            parameters=str(entry.get("parameters") or ""),
            weights_gib=float(entry["weights_gib"]) if entry.get("weights_gib") else None,
            quantization=str(entry.get("quantization") or ""),
            file_size_bytes=size_here(str(entry.get("source") or "")),
        )
        chosen = tuple(str(kind) for kind in types if kind != "cpu")
        most = int(replicas.get("max", max(least, 1)))
        found.append(Model(given, chosen, least, most, str(entry.get("engine") or "")))
    return found


def size_here(source: str) -> int:
    """Bytes of a model that is named by a path on this machine; 0 for all others."""
    if not source.startswith("file:///"):
        return 0
    path = Path(source.removeprefix("file://"))
    try:
        if path.is_dir():
            return sum(
                file.stat().st_size for file in path.rglob("*") if file.suffix in (".safetensors", ".gguf", ".bin")
            )
        return path.stat().st_size
    except OSError:
        return 0


def _names(values: Values, name: str, adopt: bool, karpenter: bool) -> list[Name]:
    """What the roles make under names that follow from the cluster's."""
    found: list[Name] = []
    if not adopt and values.get("cluster_state", "present") == "present":
        found += [
            Name("eks_cluster", name),
            Name("iam_role", f"{name}-cluster"),
            Name("log_group", f"/aws/eks/{name}/cluster"),
        ]
        if values.get("cluster_encryption_key") == "own":
            found.append(Name("kms_key", f"{name}-secrets"))
    if values.get("node_groups_state", "present") == "present":
        found.append(Name("iam_role", f"{name}-node"))
        if values.get("identity_variant", "pod_identity") == "pod_identity":
            found.append(Name("iam_role", f"{name}-cni"))
    if values.get("identity_state", "present") == "present":
        for variable in ("identity_drivers", "identity_roles"):
            for role in values.get(variable) or []:
                found.append(Name("iam_role", f"{name}-{str(role['name']).replace('_', '-')}", variable))
    if values.get("storage_efs_state", "present") == "present":
        found.append(Name("efs_file_system", name))
    if karpenter:
        found += [
            Name("sqs_queue", name),
            Name("iam_role", f"{name}-karpenter"),
            Name("iam_role", f"{name}-karpenter-node"),
        ]
    return found


def _true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "on", "1")
