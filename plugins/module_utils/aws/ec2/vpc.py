# SPDX-License-Identifier: Apache-2.0
"""VPCs. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html"""

from __future__ import annotations

from ..base.arguments import flag, text
from ..base.plan import Rules, State
from ..base.resource import Settled
from .base import Ec2Resource

# Resources that keep a VPC from being deleted, besides interfaces: operation, result, id, word.
_INSIDE = (
    ("describe_subnets", "Subnets", "SubnetId", "subnet"),
    ("describe_security_groups", "SecurityGroups", "GroupId", "security group"),
    ("describe_route_tables", "RouteTables", "RouteTableId", "route table"),
)


def _own(row: State) -> bool:
    """Whether it is neither the default group nor the main route table: these are deleted with their VPC."""
    main = any(association.get("Main") for association in row.get("Associations") or [])
    return row.get("GroupName") != "default" and not main


class Ec2Vpc(Ec2Resource):
    """A VPC. DNS support and host names are on: EFS and private endpoints need both."""

    kind = "ec2_vpc"
    stands_on = ()
    carries_traffic = True
    noun = "VPC"
    resource_type = "vpc"
    describe = ("describe_vpcs", "Vpcs", "vpc-id", "VpcId")
    not_found = ("InvalidVpcID.NotFound",)
    produces = ("id", "cidr")
    rules = Rules(fixed=("CidrBlock",))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "cidr": text(),
        "dns_support": flag(True),
        "dns_hostnames": flag(True),
    }

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            for name in ("EnableDnsSupport", "EnableDnsHostnames"):
                attribute = name[0].lower() + name[1:]
                answer = self.call("describe_vpc_attribute", VpcId=row["VpcId"], Attribute=attribute)
                row[name] = answer[name]["Value"]
        return row

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "CidrBlock": p["cidr"],
            "EnableDnsSupport": p["dns_support"],
            "EnableDnsHostnames": p["dns_hostnames"],
        }

    def create(self, desired: State) -> None:
        made = self.call("create_vpc", CidrBlock=desired["CidrBlock"], TagSpecifications=self.tag_specifications)["Vpc"]
        self.update({key: value for key, value in desired.items() if key != "CidrBlock"}, made)

    def update(self, changed: State, current: State) -> None:
        # One attribute per call; host names need DNS support first.
        for name in ("EnableDnsSupport", "EnableDnsHostnames"):
            if name in changed:
                attribute: State = {name: {"Value": changed[name]}}
                self.call("modify_vpc_attribute", VpcId=current["VpcId"], **attribute)

    def remove(self, current: State) -> None:
        self.freed("delete_vpc", VpcId=current["VpcId"])

    def holders(self) -> list[str]:
        if self._current is None:
            return []
        where = [{"Name": "vpc-id", "Values": [self._current["VpcId"]]}]
        found = self.interfaces("vpc-id", self._current["VpcId"])
        for operation, result, identifier, word in _INSIDE:
            found += [f"{word} {row[identifier]}" for row in self.listed(operation, result, Filters=where) if _own(row)]
        return found

    def settled(self, current: State) -> Settled:
        return Settled(current["State"], frozenset({"available"}))

    def made(self, current: State) -> State:
        return {"id": current["VpcId"], "cidr": current["CidrBlock"]}
