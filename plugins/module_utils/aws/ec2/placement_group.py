# SPDX-License-Identifier: Apache-2.0
"""Placement groups. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-groups.html"""

from __future__ import annotations

from ..base.arguments import text
from ..base.plan import Rules, State
from .base import Ec2Resource

STRATEGIES = ("cluster", "partition", "spread")


class Ec2PlacementGroup(Ec2Resource):
    """How EC2 places instances of a group: close together in one zone (cluster), or on hardware of their own.

    Names are unique in a region. The strategy cannot be changed.
    """

    kind = "ec2_placement_group"
    stands_on = ()
    carries_traffic = False
    noun = "placement group"
    resource_type = "placement-group"
    describe = ("describe_placement_groups", "PlacementGroups", "group-id", "GroupId")
    unique_names = True
    not_found = ("InvalidPlacementGroup.Unknown",)
    produces = ("id", "name")
    rules = Rules(fixed=("Strategy",))
    arguments = {
        "name": text(required=True),
        "id": text(),
        "strategy": text(default="cluster", choices=list(STRATEGIES)),
    }

    def filters(self) -> dict[str, str]:
        return {"group-name": self.params["name"]}

    def bearer(self) -> State | None:
        return self.look()

    def desired(self, current: State | None) -> State:
        return {"Strategy": self.params["strategy"]}

    def create(self, desired: State) -> None:
        self.call(
            "create_placement_group",
            GroupName=self.params["name"],
            TagSpecifications=self.tag_specifications,
            **desired,
        )

    def remove(self, current: State) -> None:
        self.call("delete_placement_group", GroupName=current["GroupName"])

    def made(self, current: State) -> State:
        return {"id": self.identifier(current), "name": current["GroupName"]}
