# SPDX-License-Identifier: Apache-2.0
"""What all EFS resources share: tags on a resource id, and life-cycle states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

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


def marked_systems(looker: Looker) -> Iterator[tuple[State, dict[str, str]]]:
    """File systems that carry the mark, with their tags."""
    for row in looker.list("efs", "describe_file_systems", "FileSystems"):
        tags = tag_map(row.get("Tags") or [])
        if looker.ours(tags) and row["LifeCycleState"] != "deleted":
            yield row, tags
