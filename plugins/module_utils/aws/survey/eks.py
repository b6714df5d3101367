# SPDX-License-Identifier: Apache-2.0
"""The EKS part of a census. Members are looked at in every cluster, by their own marks: a cluster may be adopted, and its members ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ..base.errors import NotFound
from ..base.resource import tag_map
from ..estimate.prices import per_hour_of
from .item import Item, Look, Looker, Row


@dataclass(frozen=True)
class Member:
    """Something in a cluster. `listing`: operation and result; `of`: member of a listed row, empty where rows are names."""

    kind: str
    listing: tuple[str, str]
    describing: tuple[str, str]
    key: str
    of: str = ""

    def name(self, row: Row) -> str:
        return f"{row['namespace']}/{row['serviceAccount']}" if self.of else str(row[self.key])


_MEMBERS = (
    Member("eks_nodegroup", ("list_nodegroups", "nodegroups"), ("describe_nodegroup", "nodegroup"), "nodegroupName"),
    Member("eks_addon", ("list_addons", "addons"), ("describe_addon", "addon"), "addonName"),
    Member(
        "eks_access_entry",
        ("list_access_entries", "accessEntries"),
        ("describe_access_entry", "accessEntry"),
        "principalArn",
    ),
    Member(
        "eks_pod_identity_association",
        ("list_pod_identity_associations", "associations"),
        ("describe_pod_identity_association", "association"),
        "associationId",
        of="associationId",
    ),
)


def _look(looker: Looker) -> Iterator[Item]:
    names = looker.list("eks", "list_clusters", "clusters")
    for row in looker.details.map(partial(_cluster, looker), names):
        tags = tag_map((row or {}).get("tags") or {})
        if row and looker.ours(tags):
            more = {"name": row["name"], "state": row["status"], "price_per_hour": per_hour_of("eks_cluster")}
            yield looker.item("eks_cluster", row["name"], tags, **more)
    pairs = [(cluster, member) for cluster in names for member in _MEMBERS]
    listings = looker.details.map(partial(_listed, looker), pairs)
    wanted = [(*pair, name) for pair, found in zip(pairs, listings, strict=True) for name in found]
    for (cluster, member, _), row in zip(wanted, looker.details.map(partial(_member, looker), wanted), strict=True):
        tags = tag_map((row or {}).get("tags") or {})
        if row and looker.ours(tags):
            more = {"name": f"{cluster}/{member.name(row)}", "state": str(row.get("status") or "")}
            yield looker.item(member.kind, str(row[member.key]), tags, **more)


def _cluster(looker: Looker, name: str) -> Row | None:
    try:
        return dict(looker.call("eks", "describe_cluster", name=name)["cluster"])
    except NotFound:
        return None


def _listed(looker: Looker, pair: tuple[str, Member]) -> list[str]:
    cluster, member = pair
    try:
        rows = looker.list("eks", *member.listing, clusterName=cluster)
    except NotFound:
        return []
    return [row[member.of] if member.of else row for row in rows]


def _member(looker: Looker, wanted: tuple[str, Member, str]) -> Row | None:
    cluster, member, name = wanted
    operation, result = member.describing
    try:
        return dict(looker.call("eks", operation, clusterName=cluster, **{member.key: name})[result])
    except NotFound:
        return None


LOOKS: dict[Look, tuple[str, ...]] = {_look: ("eks_cluster", *(member.kind for member in _MEMBERS))}
