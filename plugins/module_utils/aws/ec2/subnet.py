# SPDX-License-Identifier: Apache-2.0
"""Subnets. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html"""

from __future__ import annotations

from ..base.arguments import flag, text
from ..base.plan import Rules, State
from ..base.resource import Settled
from .base import Ec2Resource


class Ec2Subnet(Ec2Resource):
    """A subnet in one zone."""

    kind = "ec2_subnet"
    stands_on = ("ec2_vpc",)
    carries_traffic = True
    noun = "subnet"
    resource_type = "subnet"
    describe = ("describe_subnets", "Subnets", "subnet-id", "SubnetId")
    not_found = ("InvalidSubnetID.NotFound",)
    key = ("name",)
    produces = ("id", "zone", "cidr")
    rules = Rules(fixed=("CidrBlock", "AvailabilityZone", "VpcId"))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "vpc_id": text(),
        "cidr": text(),
        "zone": text(),
        "map_public_ip": flag(False),
    }

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "VpcId": p["vpc_id"],
            "CidrBlock": p["cidr"],
            "AvailabilityZone": p["zone"],
            "MapPublicIpOnLaunch": p["map_public_ip"],
        }

    def create(self, desired: State) -> None:
        public = desired.pop("MapPublicIpOnLaunch")
        made = self.call("create_subnet", **desired, TagSpecifications=self.tag_specifications)["Subnet"]
        if public:
            self.update({"MapPublicIpOnLaunch": True}, made)

    def update(self, changed: State, current: State) -> None:
        public = {"Value": changed["MapPublicIpOnLaunch"]}
        self.call("modify_subnet_attribute", SubnetId=current["SubnetId"], MapPublicIpOnLaunch=public)

    def remove(self, current: State) -> None:
        self.freed("delete_subnet", SubnetId=current["SubnetId"])

    def holders(self) -> list[str]:
        return self.interfaces("subnet-id", self._current["SubnetId"]) if self._current else []

    def settled(self, current: State) -> Settled:
        return Settled(current["State"], frozenset({"available"}))

    def made(self, current: State) -> State:
        return {"id": current["SubnetId"], "zone": current["AvailabilityZone"], "cidr": current["CidrBlock"]}
