# SPDX-License-Identifier: Apache-2.0
"""What all EC2 resources share: they have no unique names, and are found by our marks, or by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...names import TAG_CLUSTER, TAG_NAME
from ..base.connection import patience
from ..base.errors import AwsError
from ..base.plan import State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, own_name, tag_list, tag_map

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

INTERFACE = "network interface"
# EC2 is eventually consistent: a new resource is not visible everywhere at once. Calls that follow our own creations
# may meet `InvalidVpcID.NotFound` and the like.
# https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
YOUNG: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        *("modify_vpc_attribute", "modify_subnet_attribute", "create_subnet", "create_route_table", "create_route"),
        *("associate_route_table", "attach_internet_gateway", "create_nat_gateway", "create_security_group"),
        *("authorize_security_group_ingress", "create_vpc_endpoint", "create_tags"),
    ),
    (".NotFound",),
)
# How long interfaces of deleted services, and other resources that were just deleted, may stay.
_LEAVING_S = 300
_SETTLING_S = 15


@dataclass(frozen=True)
class Named:
    """How a type in EC2's tags is read: its name there, the operation, the member of the answer, and the member with the id."""

    kind: str
    resource_type: str
    operation: str
    result: str
    id: str
    filters_in: str = "Filters"
    extra: tuple[tuple[str, list[str]], ...] = ()


def marked(looker: Looker, named: Named) -> Iterator[tuple[State, dict[str, str]]]:
    """Rows that carry the mark, with their tags. Only resources in EC2's listing of tags are read.

    That listing contains resources for an hour after their end (a terminated instance): the read of the resource itself
    decides.
    """
    if named.resource_type not in marked_types(looker):
        return
    filters = {named.filters_in: [{"Name": f"tag:{TAG_CLUSTER}", "Values": [looker.cluster]}]}
    rows: list[State] = looker.list("ec2", named.operation, named.result, **filters, **dict(named.extra))
    if named.result == "Reservations":
        rows = [instance for reservation in rows for instance in reservation["Instances"]]
    for row in rows:
        tags = tag_map(row.get("Tags", row.get("TagSet")) or [])
        state = row.get("State")
        name = state.get("Name") if isinstance(state, dict) else state
        if looker.ours(tags) and str(name).lower() not in ("terminated", "deleted"):
            yield row, tags


def marked_types(looker: Looker) -> dict[str, set[str]]:
    """Type in EC2's tags → ids that carry the mark."""
    marks = [{"Name": "key", "Values": [TAG_CLUSTER]}, {"Name": "value", "Values": [looker.cluster]}]
    found: dict[str, set[str]] = {}
    for tag in looker.list("ec2", "describe_tags", "Tags", Filters=marks):
        # AWS has changed the spelling of this type.
        kind = str(tag["ResourceType"]).replace("nat-gateway", "natgateway")
        found.setdefault(kind, set()).add(str(tag["ResourceId"]))
    return found


def name_of(row: State, tags: Mapping[str, str]) -> str:
    return tags.get("Name", "") or str(row.get("GroupName") or row.get("LaunchTemplateName") or "")


class Ec2Resource(AwsResource):
    """A resource of the EC2 API. `describe`: operation, result, name of the filter by id, member that holds the id."""

    service = "ec2"
    describe: ClassVar[tuple[str, str, str, str]] = ("", "", "", "")
    # Name of the parameter that takes filters.
    filters_in: ClassVar[str] = "Filters"
    resource_type: ClassVar[str] = ""
    # Whether AWS lets no two have the same name in a region. Otherwise it has a tag of ours by which it is found.
    unique_names: ClassVar[bool] = False
    # States of a resource that no longer exists but is still listed.
    dead: ClassVar[tuple[str, ...]] = ("deleted", "deleting")
    passing: ClassVar[Mapping[str, tuple[str, ...]]] = YOUNG

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.describe[3]:
            cls.tagging = Tagging(
                *("Resources", cls.describe[3], "create_tags", "delete_tags"),
                keys="Tags",
                several=True,
                keys_as_tags=True,
            )

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        operation, result, __, identifier = cls.describe
        named = Named(cls.kind, cls.resource_type, operation, result, identifier, cls.filters_in)
        for row, tags in marked(looker, named):
            state = str(row.get("State") or "")
            price = cls.price_per_hour(row)
            yield looker.item(
                cls.kind, str(row[identifier]), tags, name=name_of(row, tags), state=state, price_per_hour=price
            )

    @classmethod
    def price_per_hour(cls, row: State) -> float | None:
        """USD an hour of a described resource; None: not known."""
        return 0.0

    @property
    def tags(self) -> dict[str, str]:
        name = self.params["name"]
        mark = {TAG_NAME: name} if self.owner and not self.unique_names else {}
        return {"Name": name, **super().tags, **mark}

    @property
    def adopted_id(self) -> str:
        return str(self.params.get("id") or "")

    def read(self) -> State | None:
        operation, result, by_id, __ = self.describe
        filters = {by_id: self.adopted_id} if self.adopted_id else self.filters()
        wanted: dict[str, Any] = {self.filters_in: [{"Name": key, "Values": [text]} for key, text in filters.items()]}
        rows = self.listed(operation, result, **wanted)
        if not (self.adopted_id or self.unique_names):
            rows = self.named(rows)
        alive = [row for row in rows if self.state_of(row) not in self.dead]
        if len(alive) > 1:
            ids = ", ".join(row[self.describe[3]] for row in alive)
            tag = TAG_NAME if self.owner else "Name"
            raise AwsError(
                f"{self.subject}: several resources have that name: {ids}; give the id, or untag ({tag}) the others"
            )
        return alive[0] if alive else next(iter(row for row in rows if self.state_of(row) == "deleting"), None)

    def bearer(self) -> State | None:
        """The name is only a tag: another resource with the same name is no obstacle."""
        return None

    def filters(self) -> dict[str, str]:
        """Filters that find it, perhaps beside others with another name."""
        found = {f"tag:{TAG_CLUSTER}": self.owner.cluster} if self.owner else {"tag:Name": self.params["name"]}
        vpc = self.params.get("vpc_id")
        return {**found, "vpc-id": vpc} if vpc else found

    def named(self, rows: Iterable[State]) -> list[State]:
        """Those with its name."""
        return [row for row in rows if own_name(self.tags_of(row)) == self.params["name"]]

    def state_of(self, row: State) -> str:
        return str(row.get("State") or "")

    def identifier(self, current: State) -> str:
        return str(current[self.describe[3]])

    @property
    def tag_specifications(self) -> list[dict[str, Any]]:
        return [{"ResourceType": self.resource_type, "Tags": tag_list(self.tags)}]

    def freed(self, operation: str, **parameters: Any) -> None:
        """Delete a resource that others may use: wait for those that are being deleted, name those that stay. Raises AwsError."""
        started, said = self.connection.now(), False
        while True:
            try:
                self.call(operation, **parameters)
                return
            except AwsError as error:
                if error.code != "DependencyViolation":
                    raise
                holders = self.holders()
                elapsed = self.connection.now() - started
                if elapsed > (_SETTLING_S if holders and not self.leaving(holders) else _LEAVING_S):
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
        """What uses it, as `network interface eni-1 (description)`."""
        return []

    def leaving(self, holders: list[str]) -> bool:
        """Interfaces of AWS's services that AWS deletes itself, minutes after what they belonged to."""
        return all(holder.startswith(INTERFACE) for holder in holders)

    def interfaces(self, name: str, value: str, *, public: bool = False) -> list[str]:
        """Network interfaces by a filter, in words; `public`: those with a public address."""
        found = self.listed(
            "describe_network_interfaces", "NetworkInterfaces", Filters=[{"Name": name, "Values": [value]}]
        )
        return [
            f"{INTERFACE} {row['NetworkInterfaceId']} ({row.get('Description') or row.get('InterfaceType', '')})"
            for row in found
            if not public or (row.get("Association") or {}).get("PublicIp")
        ]

    def made(self, current: State) -> State:
        return {"id": self.identifier(current)}
