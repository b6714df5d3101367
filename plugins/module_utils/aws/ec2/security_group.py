# SPDX-License-Identifier: Apache-2.0
"""Security groups and their ingress rules. https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html"""

from __future__ import annotations

from typing import Any

from ..base.arguments import flag, text
from ..base.plan import Rules, State
from ..base.unknown import is_unknown
from .base import Ec2Resource

_RULE = {
    "protocol": text(default="tcp"),
    "port": {"type": "int"},
    "to_port": {"type": "int"},
    "cidr": text(),
    "source_group_id": text(),
    "self": flag(False),
    "description": text(default=""),
}


class Ec2SecurityGroup(Ec2Resource):
    """A security group. Ingress only: AWS allows all egress by default. Other rules are removed only with `purge_rules`."""

    kind = "ec2_security_group"
    stands_on = ("ec2_vpc",)
    carries_traffic = True
    noun = "security group"
    resource_type = "security-group"
    describe = ("describe_security_groups", "SecurityGroups", "group-id", "GroupId")
    not_found = ("InvalidGroup.NotFound",)
    produces = ("id",)
    arguments = {
        "name": text(required=True),
        "id": text(),
        "vpc_id": text(),
        "description": text(),
        "rules": {"type": "list", "elements": "dict", "options": _RULE, "default": []},
        "purge_rules": flag(True),
    }

    @property
    def rules(self) -> Rules:  # type: ignore[override]
        exact = ("ingress",) if self.params["purge_rules"] else ()
        return Rules(fixed=("Description", "VpcId"), exact=exact, keyed=("ingress",))

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            row["ingress"] = {
                name: description
                for permission in row.get("IpPermissions", [])
                for name, description in _flat(permission, row["GroupId"])
            }
        return row

    def bearer(self) -> State | None:
        """Group names are unique in a VPC. In a VPC that does not exist yet they are free."""
        vpc = self.params["vpc_id"]
        if not vpc or is_unknown(vpc):
            return None
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [self.params["name"]]}]
        found: list[State] = self.listed("describe_security_groups", "SecurityGroups", Filters=filters)
        return found[0] if found else None

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "VpcId": p["vpc_id"],
            "Description": p["description"] or (None if current else f"{p['name']} of llm.on_eks"),
            "ingress": {_name(rule): rule["description"] for rule in p["rules"]},
        }

    def create(self, desired: State) -> None:
        made = self.call(
            "create_security_group",
            GroupName=self.params["name"],
            Description=desired["Description"],
            VpcId=desired["VpcId"],
            TagSpecifications=self.tag_specifications,
        )
        self.update(desired, {"GroupId": made["GroupId"], "ingress": {}})

    def update(self, changed: State, current: State) -> None:
        group, have = current["GroupId"], current["ingress"]
        wanted = changed.get("ingress", {})
        gone = [name for name in have if name not in wanted and self.params["purge_rules"]]
        gone += [name for name in wanted if name in have and have[name] != wanted[name]]
        new = [name for name in wanted if have.get(name) != wanted[name]]
        if gone:
            self.call(
                "revoke_security_group_ingress", GroupId=group, IpPermissions=[_permission(n, "", group) for n in gone]
            )
        if new:
            permissions = [_permission(name, wanted[name], group) for name in new]
            self.call("authorize_security_group_ingress", GroupId=group, IpPermissions=permissions)

    def remove(self, current: State) -> None:
        self.freed("delete_security_group", GroupId=current["GroupId"])

    def holders(self) -> list[str]:
        return self.interfaces("group-id", self._current["GroupId"]) if self._current else []


def _name(rule: dict[str, Any]) -> str:
    """A rule as one canonical line: `tcp 2049-2049 from sg-1`."""
    if rule["protocol"] in ("-1", "all"):
        ports = "all"
    else:
        first = rule["port"] if rule["port"] is not None else -1
        ports = f"{rule['protocol']} {first}-{rule['to_port'] if rule['to_port'] is not None else first}"
    return f"{ports} from {'itself' if rule['self'] else rule['source_group_id'] or rule['cidr']}"


def _flat(permission: dict[str, Any], group: str) -> list[tuple[str, str]]:
    """One line for each source of a permission."""
    protocol = permission["IpProtocol"]
    ports = "all" if protocol == "-1" else f"{protocol} {permission.get('FromPort', -1)}-{permission.get('ToPort', -1)}"
    sources = [(row["CidrIp"], row) for row in permission.get("IpRanges", [])]
    sources += [(row["CidrIpv6"], row) for row in permission.get("Ipv6Ranges", [])]
    sources += [
        ("itself" if row["GroupId"] == group else row["GroupId"], row) for row in permission.get("UserIdGroupPairs", [])
    ]
    return [(f"{ports} from {source}", row.get("Description") or "") for source, row in sources]


def _permission(name: str, description: str, group: str) -> dict[str, Any]:
    """The API's form of such a line."""
    ports, __, source = name.partition(" from ")
    protocol, __, numbers = ports.partition(" ")
    made: dict[str, Any] = {"IpProtocol": "-1" if protocol == "all" else protocol}
    if numbers:
        first, __, last = numbers.rpartition("-")
        made |= {"FromPort": int(first), "ToPort": int(last)}
    words = {"Description": description} if description else {}
    if source == "itself" or source.startswith("sg-"):
        return {**made, "UserIdGroupPairs": [{"GroupId": group if source == "itself" else source, **words}]}
    kind, member = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    return {**made, kind: [{member: source, **words}]}
