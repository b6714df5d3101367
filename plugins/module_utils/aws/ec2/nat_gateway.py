# SPDX-License-Identifier: Apache-2.0
"""NAT gateways. https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html"""

from __future__ import annotations

from typing import Any

from ..base.arguments import text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..base.tagging import tag_list
from ..reference.prices import per_hour_of
from .base import Ec2Resource


class Ec2NatGateway(Ec2Resource):
    """A public NAT gateway with an address of its own, which goes with it."""

    kind = "ec2_nat_gateway"
    stands_on = ("ec2_subnet", "ec2_internet_gateway")
    carries_traffic = True
    noun = "NAT gateway"
    resource_type = "natgateway"
    describe = ("describe_nat_gateways", "NatGateways", "nat-gateway-id", "NatGatewayId")
    not_found = ("NatGatewayNotFound", "InvalidAllocationID.NotFound")
    filters_in = "Filter"
    dead = ("deleted", "deleting", "failed")
    produces = ("id", "public_ip")
    rules = Rules(fixed=("SubnetId",))
    # Id of the gateway that this object created.
    _made = ""
    arguments = {"name": text(required=True), "id": text(), "subnet_id": text()}

    @classmethod
    def price_per_hour(cls, row: State) -> float | None:
        return per_hour_of("nat_gateway") if row.get("State") in ("pending", "available") else 0.0

    def read(self) -> State | None:
        """The gateway. Without one, what an earlier run left behind of it is returned as a gateway that is gone.

        That is an address, or a gateway whose creation failed. One that failed in this run is returned as it is: it says why.
        """
        row = super().read()
        if row is None or row["State"] in self.dead:
            failed = self._in("failed")
            row = row or next((one for one in failed if one["NatGatewayId"] == self._made), None)
            left = [*failed, *self._addresses()]
            if row is None and left:
                row = {"State": "deleted", "Tags": left[0].get("Tags") or []}
            if row is not None:
                row["left"] = len(left)
        return row

    def _in(self, *states: str) -> list[State]:
        """Our gateways of the name that are in one of these states."""
        wanted = [{"Name": key, "Values": [value]} for key, value in self.filters().items()]
        rows = self.listed("describe_nat_gateways", "NatGateways", Filter=wanted)
        return [row for row in self.named(rows) if row["State"] in states]

    def _clear(self) -> None:
        """Delete what failed: until AWS does so after an hour, it holds its subnet and its address.

        https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
        """
        for row in self._in("failed"):
            self.call("delete_nat_gateway", NatGatewayId=row["NatGatewayId"])
        self.until(lambda: "going" if self._in("failed", "deleting") else "gone", "what failed before", good="gone")

    def leaves_behind(self, current: State) -> bool:
        return bool(current.get("left"))

    def desired(self, current: State | None) -> State:
        return {"SubnetId": self.params["subnet_id"]}

    def create(self, desired: State) -> None:
        self._clear()
        free = next((row for row in self._addresses() if not row.get("AssociationId")), None)
        address = free or self.call(
            "allocate_address",
            Domain="vpc",
            TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tag_list(self.tags)}],
        )
        made = self.call(
            "create_nat_gateway",
            SubnetId=desired["SubnetId"],
            AllocationId=address["AllocationId"],
            TagSpecifications=self.tag_specifications,
        )
        self._made = str(made["NatGateway"]["NatGatewayId"])

    def _addresses(self) -> list[dict[str, Any]]:
        """The addresses that were allocated for it."""
        filters = [{"Name": key, "Values": [value]} for key, value in self.filters().items() if key.startswith("tag:")]
        return self.named(self.listed("describe_addresses", "Addresses", Filters=filters))

    def update(self, changed: State, current: State) -> None:
        raise AwsError(f"{self.subject}: nothing of it can be changed")

    def remove(self, current: State) -> None:
        if not self.settled(current).is_leaving:
            self.call("delete_nat_gateway", NatGatewayId=current["NatGatewayId"])
        self._clear()
        self.wait_gone()
        for row in self._addresses():
            self.call("release_address", AllocationId=row["AllocationId"])

    def settled(self, current: State) -> Settled:
        why = current.get("FailureMessage") or ""
        return Settled(current["State"], frozenset({"available"}), frozenset({"failed"}), why=why)

    def made(self, current: State) -> State:
        addresses = current.get("NatGatewayAddresses") or [{}]
        return {"id": current["NatGatewayId"], "public_ip": addresses[0].get("PublicIp")}
