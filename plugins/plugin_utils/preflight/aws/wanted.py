# SPDX-License-Identifier: Apache-2.0
"""What a run is about to create on AWS, as preflight needs it: the descriptors' resources, and the models' needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....module_utils.aws.estimate.model_size import Given
from ...engines.size import given_of
from ..findings import Place
from .described import Api, Name, Network, NodeGroup, api, cluster, entries, names, network, node_groups

Values = Mapping[str, Any]
# Engines that also run on processors.
_CPU_ENGINES = ("llamacpp",)


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
class Wanted:
    """`adopt`: use an existing cluster as it is. `places`: where the inventory sets a variable.

    `reference`: what playbooks/lock.yml wrote; `addons`: those without a version of their own.
    """

    cluster: str
    region: str
    version: str = ""
    support_type: str = "STANDARD"
    adopt: bool = False
    api: Api = field(default_factory=Api)
    only: tuple[str, ...] = ()
    service_cidr: str = ""
    network: Network = field(default_factory=Network)
    node_groups: tuple[NodeGroup, ...] = ()
    models: tuple[Model, ...] = ()
    names: tuple[Name, ...] = ()
    kinds: tuple[str, ...] = ()
    state_bucket: str = ""
    karpenter: bool = False
    karpenter_spot: bool = False
    prices: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    addons: tuple[str, ...] = ()
    protected: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def instance_types(self) -> tuple[str, ...]:
        """All instance types, each once."""
        groups = [kind for group in self.node_groups for kind in group.instance_types]
        models = [kind for model in self.models for kind in model.instance_types]
        return tuple(dict.fromkeys([*groups, *models]))


def wanted(values: Values, components: Sequence[Values] = (), places: Mapping[str, Place] | None = None) -> Wanted:
    """From descriptors, and from variables with their roles' defaults. The argument specs were checked before, so types are right."""
    found = entries(components)
    made = cluster(found)
    said = made.properties if made else {}
    reference = values.get("platform_reference") or {}
    return Wanted(
        cluster=str(values.get("platform_cluster_name") or ""),
        region=str(values.get("platform_aws_region") or ""),
        version=str(said.get("version") or ""),
        support_type=str(said.get("support_type") or "STANDARD"),
        adopt=bool(made and made.adopt),
        # A local cluster's API is always in reach.
        api=Api() if values.get("platform_local") else api(found),
        only=tuple(map(str, values.get("platform_only") or ())),
        service_cidr=str(said.get("service_ipv4_cidr") or ""),
        network=network(found),
        node_groups=tuple(node_groups(found, values)),
        models=tuple(_models(values.get("model_catalog") or [])),
        names=tuple(names(found, values)),
        kinds=tuple(sorted({entry.kind for entry in found})),
        state_bucket=str(values.get("platform_state_bucket") or ""),
        karpenter=any(entry.component.startswith("karpenter") for entry in found),
        karpenter_spot=_buys_spot(values),
        prices={
            str(kind): float(price)
            for kind, price in {**(reference.get("prices") or {}), **(values.get("platform_prices") or {})}.items()
        },
        reference=reference,
        addons=tuple(
            str(entry.properties["name"])
            for entry in found
            if entry.kind == "eks_addon" and entry.properties.get("version") in (None, "default", "latest")
        ),
        protected=bool(values.get("platform_protected")),
        places=places or {},
    )


def _buys_spot(values: Values) -> bool:
    """Whether Karpenter may start spot instances."""
    if values.get("karpenter_state", "skip") != "present":
        return False
    general = values.get("karpenter_general_capacity") if values.get("karpenter_general", True) else []
    return "spot" in [*(values.get("karpenter_capacity") or []), *(general or [])]


def _models(catalog: Sequence[Values]) -> list[Model]:
    found = []
    for entry in catalog:
        if entry.get("state", "present") == "absent":
            continue
        replicas = entry.get("replicas") or {}
        least = int(replicas.get("min", 1))
        named = entry.get("accelerators") or "cpu"
        types = [named] if isinstance(named, str) else list(named)
        given = given_of(entry, size_here(str(entry.get("source") or "")))
        chosen = tuple(str(kind) for kind in types if kind != "cpu")
        most = int(replicas.get("max", max(least, 1)))
        found.append(Model(given, chosen, least, most, str(entry.get("engine") or "")))
    return found


def size_here(source: str) -> int:
    """Bytes of a model that is a path on this machine; 0 for all others."""
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
