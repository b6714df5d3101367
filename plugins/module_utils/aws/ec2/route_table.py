# SPDX-License-Identifier: Apache-2.0
"""Route tables and the subnets that use them. https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html"""

from __future__ import annotations

from typing import Any

from ..base.arguments import text, texts
from ..base.plan import Rules, State
from .base import Ec2Resource

_ROUTE = {"destination": text(required=True), "gateway_id": text(), "nat_gateway_id": text()}


class Ec2RouteTable(Ec2Resource):
    """A route table. Routes that we do not name stay: endpoints, peerings and controllers add their own."""

    kind = "ec2_route_table"
    stands_on = ("ec2_subnet", "ec2_internet_gateway", "ec2_nat_gateway")
    carries_traffic = True
    noun = "route table"
    resource_type = "route-table"
    describe = ("describe_route_tables", "RouteTables", "route-table-id", "RouteTableId")
    not_found = ("InvalidRouteTableID.NotFound", "InvalidAssociationID.NotFound")
    produces = ("id",)
    rules = Rules(fixed=("VpcId",))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "vpc_id": text(),
        "routes": {"type": "list", "elements": "dict", "options": _ROUTE, "default": []},
        "subnet_ids": texts(default=[]),
    }

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            row["routes"] = {
                route["DestinationCidrBlock"]: _target(route) for route in row["Routes"] if _has_cidr(route)
            }
            links = row.get("Associations", [])
            row["subnets"] = {
                link["SubnetId"]: link["RouteTableAssociationId"] for link in links if link.get("SubnetId")
            }
            row["subnet_ids"] = dict.fromkeys(row["subnets"], True)
        return row

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "VpcId": p["vpc_id"],
            "routes": {route["destination"]: route["nat_gateway_id"] or route["gateway_id"] for route in p["routes"]},
            "subnet_ids": dict.fromkeys(p["subnet_ids"], True),
        }

    def create(self, desired: State) -> None:
        made = self.call("create_route_table", VpcId=desired["VpcId"], TagSpecifications=self.tag_specifications)
        empty: State = {"RouteTableId": made["RouteTable"]["RouteTableId"], "routes": {}, "subnets": {}}
        self.update(desired, empty)

    def update(self, changed: State, current: State) -> None:
        table = current["RouteTableId"]
        for destination, target in changed.get("routes", {}).items():
            have = current["routes"].get(destination)
            if have != target:
                key = "NatGatewayId" if target.startswith("nat-") else "GatewayId"
                verb = "replace_route" if have else "create_route"
                self.call(verb, RouteTableId=table, DestinationCidrBlock=destination, **{key: target})
        for subnet in changed.get("subnet_ids", {}):
            if subnet not in current["subnets"]:
                self.call("associate_route_table", RouteTableId=table, SubnetId=subnet)

    def remove(self, current: State) -> None:
        for association in current["subnets"].values():
            self.call("disassociate_route_table", AssociationId=association)
        self.call("delete_route_table", RouteTableId=current["RouteTableId"])


def _has_cidr(route: dict[str, Any]) -> bool:
    return "DestinationCidrBlock" in route and route.get("GatewayId") != "local"


def _target(route: dict[str, Any]) -> str:
    names = ("NatGatewayId", "GatewayId", "TransitGatewayId", "VpcPeeringConnectionId", "NetworkInterfaceId")
    return next((str(route[name]) for name in names if route.get(name)), "")
