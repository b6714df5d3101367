# SPDX-License-Identifier: Apache-2.0
"""VPC endpoints. https://docs.aws.amazon.com/vpc/latest/privatelink/create-interface-endpoint.html"""

from __future__ import annotations

from ..base.arguments import flag, text, texts
from ..base.plan import Rules, State
from ..base.resource import Settled
from ..reference.prices import per_hour_of
from .base import Ec2Resource

# Services whose endpoints in China are called `cn.com.amazonaws…`; all others are `com.amazonaws…` there too.
# https://github.com/eksctl-io/eksctl/blob/main/pkg/apis/eksctl.io/v1alpha5/endpoint_service.go
_CN_PREFIXED = ("ec2", "ecr.api", "ecr.dkr", "sts", "cloudformation", "eks", "eks-auth")


class Ec2Endpoint(Ec2Resource):
    """A route to an AWS service within the VPC. `endpoint_service`: `s3`, or a full name."""

    kind = "ec2_endpoint"
    stands_on = ("ec2_subnet", "ec2_route_table", "ec2_security_group")
    carries_traffic = False
    noun = "VPC endpoint"
    resource_type = "vpc-endpoint"
    describe = ("describe_vpc_endpoints", "VpcEndpoints", "vpc-endpoint-id", "VpcEndpointId")
    not_found = ("InvalidVpcEndpointId.NotFound",)
    produces = ("id",)
    rules = Rules(
        fixed=("VpcId", "ServiceName", "VpcEndpointType"), unordered=("RouteTableIds", "SubnetIds", "SecurityGroupIds")
    )
    arguments = {
        "name": text(required=True),
        "id": text(),
        "vpc_id": text(),
        "endpoint_service": text(),
        "endpoint_type": text(default="Gateway", choices=["Gateway", "Interface"]),
        "route_table_ids": texts(),
        "subnet_ids": texts(),
        "security_group_ids": texts(),
        "private_dns": flag(),
    }

    @classmethod
    def price_per_hour(cls, row: State) -> float | None:
        zones = len(row.get("SubnetIds") or [])
        return per_hour_of("interface_endpoint_per_zone", zones) if row.get("VpcEndpointType") == "Interface" else 0.0

    def state_of(self, row: State) -> str:
        return str(row.get("State", "")).lower()

    def read(self) -> State | None:
        row = super().read()
        if row is not None:
            row["SecurityGroupIds"] = [group["GroupId"] for group in row.get("Groups", [])]
        return row

    def desired(self, current: State | None) -> State:
        p = self.params
        service = p["endpoint_service"] or ""
        whole = service if service.startswith(("com.", "cn.")) else name_of(service, self.connection.region)
        return {
            "VpcId": p["vpc_id"],
            "ServiceName": whole if service else None,
            "VpcEndpointType": p["endpoint_type"],
            "RouteTableIds": p["route_table_ids"],
            "SubnetIds": p["subnet_ids"],
            "SecurityGroupIds": p["security_group_ids"],
            "PrivateDnsEnabled": p["private_dns"] if p["endpoint_type"] == "Interface" else None,
        }

    def create(self, desired: State) -> None:
        self.call("create_vpc_endpoint", **desired, TagSpecifications=self.tag_specifications)

    def update(self, changed: State, current: State) -> None:
        given: State = {}
        for key in ("RouteTableIds", "SubnetIds", "SecurityGroupIds"):
            if key in changed:
                have, wanted = set(current.get(key) or []), set(changed[key])
                given |= {f"Add{key}": sorted(wanted - have)} if wanted - have else {}
                given |= {f"Remove{key}": sorted(have - wanted)} if have - wanted else {}
        if "PrivateDnsEnabled" in changed:
            given["PrivateDnsEnabled"] = changed["PrivateDnsEnabled"]
        self.call("modify_vpc_endpoint", VpcEndpointId=current["VpcEndpointId"], **given)

    def remove(self, current: State) -> None:
        self.call("delete_vpc_endpoints", VpcEndpointIds=[current["VpcEndpointId"]])

    def settled(self, current: State) -> Settled:
        good, bad = frozenset({"available"}), frozenset({"failed", "rejected", "expired"})
        unmade = frozenset({"failed"})
        return Settled(
            self.state_of(current), good, bad, unmade=unmade, why=(current.get("LastError") or {}).get("Message", "")
        )


def name_of(service: str, region: str) -> str:
    """The full name of a service's endpoint in a region."""
    prefix = "cn." if region.startswith("cn-") and service in _CN_PREFIXED else ""
    return f"{prefix}com.amazonaws.{region}.{service}"
