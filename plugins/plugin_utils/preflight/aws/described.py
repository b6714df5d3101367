# SPDX-License-Identifier: Apache-2.0
"""What the roles' descriptors are about to create on AWS: names, networks, node groups. No role's names are repeated here. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....module_utils.aws.base.unknown import Unknown
from ....module_utils.aws.catalog import RESOURCES
from ...describe.references import resolve

Values = Mapping[str, Any]
# Capacity types whose vCPUs count against a quota of their own.
_SPOT = "SPOT"


@dataclass(frozen=True)
class Entry:
    """One resource of a component whose state is present. `properties`: Unknown for values that only an apply tells."""

    component: str
    name: str
    kind: str
    properties: dict[str, Any]
    adopt: bool = False


@dataclass(frozen=True)
class NodeGroup:
    """A managed node group. `variable`: the one that describes it, `said`: what it says there; `subnets`: how many it has."""

    name: str
    instance_types: tuple[str, ...]
    desired: int
    maximum: int
    spot: bool = False
    variable: str = "node_groups_system"
    subnets: int = 1
    said: Values = field(default_factory=dict)


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
class Api:
    """`public`: there is a public endpoint; `within`: networks, besides the nodes, that a rule admits.

    Without both, nobody can connect.
    """

    public: bool = True
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Name:
    """A resource whose name must be free, or ours. `variable`: the variable that sets it."""

    entry: Entry
    variable: str = "platform_cluster_name"

    @property
    def kind(self) -> str:
        return self.entry.kind

    @property
    def name(self) -> str:
        return str(self.entry.properties.get("name", ""))


def entries(components: Iterable[Values]) -> list[Entry]:
    """All resources of components whose state is present, with the values that are known before an apply."""
    present = [one for one in components if one.get("state", "present") == "present"]
    known = _Known(present)
    return [
        Entry(
            str(component["name"]),
            str(entry["name"]),
            str(entry["type"]),
            resolve(entry.get("properties") or {}, known),
            bool(entry.get("adopt")),
        )
        for component in present
        for entry in component.get("aws") or []
    ]


class _Known(dict[tuple[str, str], Any]):
    """Outputs that follow from the descriptors alone: names, and ids of adopted resources. All others are Unknown."""

    def __init__(self, components: Iterable[Values]) -> None:
        super().__init__()
        for component in components:
            for entry in component.get("aws") or []:
                given = entry.get("properties") or {}
                for output in ("name", "id") if entry.get("adopt") else ("name",):
                    value = given.get(output)
                    if isinstance(value, str) and value and "${out:" not in value:
                        self[str(component["name"]), f"{entry['name']}_{output}"] = value

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: tuple[str, str]) -> Unknown:
        return Unknown(".".join(key))


def names(found: Sequence[Entry], values: Values) -> list[Name]:
    """Resources that will be created under a name of their own."""
    return [Name(entry, _variable(entry, values)) for entry in found if not entry.adopt]


def network(found: Sequence[Entry]) -> Network:
    vpc = next(_of(found, "ec2_vpc"), None)
    subnets = list(_of(found, "ec2_subnet"))
    cluster = next(_of(found, "eks_cluster"), None)
    adopted = [str(entry.properties["id"]) for entry in subnets if entry.adopt]
    private = [
        one for one in map(str, (cluster.properties.get("subnet_ids") or []) if cluster else []) if one in adopted
    ]
    endpoints = [entry for entry in _of(found, "ec2_endpoint") if entry.properties.get("endpoint_type") == "Interface"]
    return Network(
        cidr=str(vpc.properties.get("cidr") or "") if vpc and not vpc.adopt else "",
        zones=tuple(dict.fromkeys(str(entry.properties["zone"]) for entry in subnets if not entry.adopt)),
        nat_gateways=sum(1 for __ in _of(found, "ec2_nat_gateway")),
        interface_endpoints=sum(len(entry.properties.get("subnet_ids") or []) for entry in endpoints),
        vpc_id=str(vpc.properties.get("id") or "") if vpc and vpc.adopt else "",
        private_subnet_ids=tuple(private),
        public_subnet_ids=tuple(one for one in adopted if one not in private),
    )


def node_groups(found: Sequence[Entry], values: Values) -> list[NodeGroup]:
    defaults = {name: spec.get("default") for name, spec in RESOURCES["eks_nodegroup"].arguments.items()}
    return [
        _group({**defaults, **entry.properties}, _variable(entry, values), values)
        for entry in _of(found, "eks_nodegroup")
    ]


def cluster(found: Sequence[Entry]) -> Entry | None:
    return next(_of(found, "eks_cluster"), None)


def api(found: Sequence[Entry]) -> Api:
    made = cluster(found)
    if made is None or made.adopt:
        return Api()
    rules = [
        rule
        for entry in _of(found, "ec2_security_group")
        if entry.component == made.component
        for rule in entry.properties.get("rules") or []
    ]
    return Api(
        bool(made.properties.get("endpoint_public_access", True)), tuple(str(rule.get("cidr")) for rule in rules)
    )


def _group(given: Values, variable: str, values: Values) -> NodeGroup:
    wanted = given.get("desired_size")
    said = values.get(variable) or {}
    rows = [said] if isinstance(said, Mapping) else [row for row in said if row.get("name") == given["name"]]
    return NodeGroup(
        str(given["name"]),
        tuple(map(str, given.get("instance_types") or [])),
        int(given["min_size"] if wanted is None else wanted),
        int(given["max_size"]),
        given.get("capacity_type") == _SPOT,
        variable,
        len(given.get("subnet_ids") or [None]),
        next(iter(rows), {}),
    )


def _of(found: Sequence[Entry], kind: str) -> Iterator[Entry]:
    return (entry for entry in found if entry.kind == kind)


def _variable(entry: Entry, values: Values) -> str:
    """The variable of the component's role that lists the resource by name; platform_cluster_name where none does."""
    for variable in sorted(values):
        if variable.startswith(f"{entry.component}_"):
            listed = values[variable]
            rows = listed if isinstance(listed, list) else []
            if any(isinstance(row, Mapping) and _is_of(entry, str(row.get("name") or "")) for row in rows):
                return variable
    system = f"{entry.component}_system"
    return system if system in values and entry.name.endswith("_system") else "platform_cluster_name"


def _is_of(entry: Entry, name: str) -> bool:
    key = name.replace("-", "_")
    return bool(key) and entry.name in (key, f"{key}_role", f"group_{key}")
