# SPDX-License-Identifier: Apache-2.0
"""Internet gateways. https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html"""

from __future__ import annotations

from ..base.arguments import text
from ..base.plan import State
from .base import Ec2Resource


class Ec2InternetGateway(Ec2Resource):
    """An internet gateway, attached to its VPC."""

    kind = "ec2_internet_gateway"
    stands_on = ("ec2_vpc",)
    carries_traffic = True
    noun = "internet gateway"
    resource_type = "internet-gateway"
    describe = ("describe_internet_gateways", "InternetGateways", "internet-gateway-id", "InternetGatewayId")
    not_found = ("InvalidInternetGatewayID.NotFound",)
    produces = ("id",)
    arguments = {"name": text(required=True), "id": text(), "vpc_id": text()}

    def filters(self) -> dict[str, str]:
        # Not by the VPC: a gateway that an interrupted run left unattached is still ours.
        return {key: value for key, value in super().filters().items() if key != "vpc-id"}

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            attached = [part["VpcId"] for part in row.get("Attachments", []) if part.get("State") != "detached"]
            row["VpcId"] = attached[0] if attached else None
        return row

    def desired(self, current: State | None) -> State:
        return {"VpcId": self.params["vpc_id"]}

    def create(self, desired: State) -> None:
        made = self.call("create_internet_gateway", TagSpecifications=self.tag_specifications)["InternetGateway"]
        self.update(desired, made)

    def update(self, changed: State, current: State) -> None:
        where = {"InternetGatewayId": current["InternetGatewayId"]}
        if current.get("VpcId"):
            self.freed("detach_internet_gateway", **where, VpcId=current["VpcId"])
        if changed.get("VpcId"):
            self.call("attach_internet_gateway", **where, VpcId=changed["VpcId"])

    def holders(self) -> list[str]:
        """Public addresses of the VPC, for example of a load balancer that is being deleted."""
        vpc = (self._current or {}).get("VpcId")
        return self.interfaces("vpc-id", vpc, public=True) if vpc else []

    def remove(self, current: State) -> None:
        self.update({}, current)
        self.call("delete_internet_gateway", InternetGatewayId=current["InternetGatewayId"])
