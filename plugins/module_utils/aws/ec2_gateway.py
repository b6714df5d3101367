# SPDX-License-Identifier: Apache-2.0
"""Internet and NAT gateways. https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html"""

from __future__ import annotations

from typing import Any

from .arguments import text
from .ec2 import Ec2Resource
from .errors import AwsError
from .plan import Rules, State
from .resource import Settled, tag_list


class Ec2InternetGateway(Ec2Resource):
    """An internet gateway, attached to its VPC."""

    noun = "internet gateway"
    resource_type = "internet-gateway"
    describe = ("describe_internet_gateways", "InternetGateways", "internet-gateway-id", "InternetGatewayId")
    not_found = ("InvalidInternetGatewayID.NotFound",)
    produces = ("id",)
    arguments = {"name": text(required=True), "id": text(), "vpc_id": text()}

    def filters(self) -> dict[str, str]:
        # Not by the VPC: one that a broken run left unattached is still ours.
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
            self.call("detach_internet_gateway", **where, VpcId=current["VpcId"])
        if changed.get("VpcId"):
            self.call("attach_internet_gateway", **where, VpcId=changed["VpcId"])

    def remove(self, current: State) -> None:
        self.update({}, current)
        self.call("delete_internet_gateway", InternetGatewayId=current["InternetGatewayId"])


class Ec2NatGateway(Ec2Resource):
    """A public NAT gateway with an address of its own, which goes with it."""

    noun = "NAT gateway"
    resource_type = "natgateway"
    describe = ("describe_nat_gateways", "NatGateways", "nat-gateway-id", "NatGatewayId")
    not_found = ("NatGatewayNotFound", "InvalidAllocationID.NotFound")
    dead = ("deleted", "deleting", "failed")
    produces = ("id", "public_ip")
    rules = Rules(fixed=("SubnetId",))
    arguments = {"name": text(required=True), "id": text(), "subnet_id": text()}

    def read(self) -> State | None:
        """The gateway; where there is none, or none for long, the address that a broken run left over counts as one that is gone."""
        row = super().read()
        if row is None or row["State"] in self.dead:
            left = self._addresses()
            if row is None and left:
                row = {"State": "deleted", "Tags": left[0].get("Tags") or []}
            if row is not None:
                row["left"] = len(left)
        return row

    def leaves_behind(self, current: State) -> bool:
        return bool(current.get("left"))

    def desired(self, current: State | None) -> State:
        return {"SubnetId": self.params["subnet_id"]}

    def create(self, desired: State) -> None:
        free = next((row for row in self._addresses() if not row.get("AssociationId")), None)
        address = free or self.call(
            "allocate_address",
            Domain="vpc",
            TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tag_list(self.tags)}],
        )
        self.call(
            "create_nat_gateway",
            SubnetId=desired["SubnetId"],
            AllocationId=address["AllocationId"],
            TagSpecifications=self.tag_specifications,
        )

    def _addresses(self) -> list[dict[str, Any]]:
        """Those that were allocated for it."""
        filters = [{"Name": key, "Values": [value]} for key, value in self.filters().items() if key.startswith("tag:")]
        return self.listed("describe_addresses", "Addresses", Filters=filters)

    def update(self, changed: State, current: State) -> None:
        raise AwsError(f"{self.subject}: nothing of it can be changed")

    def remove(self, current: State) -> None:
        if not self.settled(current).is_leaving:
            self.call("delete_nat_gateway", NatGatewayId=current["NatGatewayId"])
        self.wait_gone()
        for row in self._addresses():
            self.call("release_address", AllocationId=row["AllocationId"])

    def settled(self, current: State) -> Settled:
        why = current.get("FailureMessage") or ""
        return Settled(current["State"], frozenset({"available"}), frozenset({"failed"}), why=why)

    def made(self, current: State) -> State:
        addresses = current.get("NatGatewayAddresses") or [{}]
        return {"id": current["NatGatewayId"], "public_ip": addresses[0].get("PublicIp")}
