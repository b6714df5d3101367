# SPDX-License-Identifier: Apache-2.0
"""What all EC2 resources share: they have no names of their own, and are known by marks and a Name tag, or by id."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ...names import TAG_CLUSTER
from ..base.connection import patience
from ..base.errors import AwsError
from ..base.plan import State
from ..base.resource import AwsResource, tag_list

INTERFACE = "network interface"
# How long interfaces of services that are gone may take to follow; and what else was deleted a moment ago.
_LEAVING_S = 300
_SETTLING_S = 15


class Ec2Resource(AwsResource):
    """A resource of the EC2 API. `describe`: operation, result, name of the filter by id, member that holds the id."""

    service = "ec2"
    describe: ClassVar[tuple[str, str, str, str]] = ("", "", "", "")
    resource_type: ClassVar[str] = ""
    # States in which a described resource is a memory only.
    dead: ClassVar[tuple[str, ...]] = ("deleted", "deleting")

    @property
    def tags(self) -> dict[str, str]:
        return {"Name": self.params["name"], **super().tags}

    @property
    def adopted_id(self) -> str:
        return str(self.params.get("id") or "")

    def read(self) -> State | None:
        operation, result, by_id, _ = self.describe
        filters = {by_id: self.adopted_id} if self.adopted_id else self.filters()
        rows = self.listed(
            operation, result, Filters=[{"Name": key, "Values": [text]} for key, text in filters.items()]
        )
        alive = [row for row in rows if self.state_of(row) not in self.dead]
        if len(alive) > 1:
            ids = ", ".join(row[self.describe[3]] for row in alive)
            raise AwsError(f"{self.subject}: several answer to that name: {ids}; give the id, or retag the others")
        return alive[0] if alive else next(iter(row for row in rows if self.state_of(row) == "deleting"), None)

    def filters(self) -> dict[str, str]:
        """By what it is found, besides the name."""
        found = {"tag:Name": self.params["name"]}
        if self.owner:
            found[f"tag:{TAG_CLUSTER}"] = self.owner.cluster
        vpc = self.params.get("vpc_id")
        return {**found, "vpc-id": vpc} if vpc else found

    def state_of(self, row: State) -> str:
        return str(row.get("State") or "")

    def identifier(self, current: State) -> str:
        return str(current[self.describe[3]])

    @property
    def tag_specifications(self) -> list[dict[str, Any]]:
        return [{"ResourceType": self.resource_type, "Tags": tag_list(self.tags)}]

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        resources = [self.identifier(current)]
        if to_set:
            self.call("create_tags", Resources=resources, Tags=tag_list(to_set))
        if to_unset:
            self.call("delete_tags", Resources=resources, Tags=[{"Key": key} for key in to_unset])

    def freed(self, operation: str, **parameters: Any) -> None:
        """Delete something that others stand in: what is on its way out is waited for, what stays is named. Raises AwsError."""
        started, said = time.monotonic(), False
        while True:
            try:
                self.call(operation, **parameters)
                return
            except AwsError as error:
                if error.code != "DependencyViolation":
                    raise
                holders = self.holders()
                elapsed = time.monotonic() - started
                if elapsed > (_SETTLING_S if holders and not self.passing(holders) else _LEAVING_S):
                    named = f"it still holds {', '.join(holders[:5])}" if holders else str(error)
                    raise AwsError(
                        f"{self.subject} cannot be deleted: {named}; none of it is ours to delete: remove it, then run this again",
                        error.code,
                    ) from error
                if not said:
                    said = True
                    self.connection.say(f"{self.subject} still holds {', '.join(holders[:3]) or 'something'}")
                self.connection.sleep(patience(elapsed))

    def holders(self) -> list[str]:
        """What stands in it, as `network interface eni-1 (description)`."""
        return []

    def passing(self, holders: list[str]) -> bool:
        """Interfaces that AWS's services leave behind go by themselves, minutes after what they belonged to."""
        return all(holder.startswith(INTERFACE) for holder in holders)

    def interfaces(self, name: str, value: str) -> list[str]:
        """Network interfaces by a filter, in words."""
        found = self.listed(
            "describe_network_interfaces", "NetworkInterfaces", Filters=[{"Name": name, "Values": [value]}]
        )
        return [
            f"{INTERFACE} {row['NetworkInterfaceId']} ({row.get('Description') or row.get('InterfaceType', '')})"
            for row in found
        ]

    def made(self, current: State) -> State:
        return {"id": self.identifier(current)}
