# SPDX-License-Identifier: Apache-2.0
"""What all EFS resources share: tags on a resource id, and life-cycle states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..base.errors import AwsError
from ..base.plan import State
from ..base.resource import AwsResource, Settled
from ..base.tagging import tag_map

if TYPE_CHECKING:
    from ..survey.item import Looker


class EfsResource(AwsResource):
    """A resource of the EFS API."""

    service = "efs"
    not_found = ("FileSystemNotFound", "MountTargetNotFound", "AccessPointNotFound")

    passing = {}

    def settled(self, current: State) -> Settled:
        return Settled(current["LifeCycleState"], good=frozenset({"available"}), bad=frozenset({"error"}))

    def create_once(self, operation: str, exists: str, **parameters: Any) -> None:
        """Create with a token, which EFS refuses with the code `exists` while what was made with it is there. Raises AwsError."""
        try:
            self.call(operation, **parameters)
        except AwsError as error:
            # A try whose answer was lost may have made it; a stranger's is none of ours.
            if error.code != exists or (found := self.look()) is None:
                raise
            self._refuse_strangers(found)


def marked_systems(looker: Looker) -> Iterator[tuple[State, dict[str, str]]]:
    """File systems that carry the mark, with their tags."""
    for row in looker.list("efs", "describe_file_systems", "FileSystems"):
        tags = tag_map(row.get("Tags") or [])
        if looker.ours(tags) and row["LifeCycleState"] != "deleted":
            yield row, tags
