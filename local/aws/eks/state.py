# SPDX-License-Identifier: Apache-2.0
"""The state of EKS, in the terms of its API, and functions that look it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import refuse
from ..world import Params, Session

Row = dict[str, Any]


@dataclass
class Entry:
    """An access entry and its policies, ARN -> scope; `associated`: ARN -> since when, and when it last changed.

    `principal_id`: the id of the role that it was made for; empty for other principals.
    """

    row: Row
    principal_id: str = ""
    policies: dict[str, Row] = field(default_factory=dict)
    associated: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def associate(self, arn: str, scope: Row, now: Any) -> None:
        self.policies[arn] = scope
        self.associated[arn] = (self.associated.get(arn, (now, now))[0], now)


@dataclass
class Cluster:
    """A cluster and its members. `updates`: id -> update; `update_of`: id -> the member that it belongs to."""

    row: Row
    interface_ids: list[str] = field(default_factory=list)
    security_group: str = ""
    nodegroups: dict[str, Row] = field(default_factory=dict)
    addons: dict[str, Row] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    associations: dict[str, Row] = field(default_factory=dict)
    updates: dict[str, Row] = field(default_factory=dict)
    update_of: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.row["name"])


def clusters(session: Session) -> dict[str, Cluster]:
    found: dict[str, Cluster] = session.store("eks", dict)
    return found


def cluster_of(session: Session, params: Params, member: str = "clusterName") -> Cluster:
    """The cluster that a call names. Raises Refusal."""
    name = params[member]
    found = clusters(session).get(name)
    if found is None:
        raise refuse("eks.no_cluster", name=name)
    return found


def active_cluster_of(session: Session, params: Params) -> Cluster:
    """The same, if the cluster accepts changes."""
    found = cluster_of(session, params)
    if found.row["status"] not in ("ACTIVE", "UPDATING"):
        raise refuse("eks.cluster_not_active", name=found.name)
    return found


def row_of(rows: dict[str, Row], kind: str, name: str, cluster: Cluster) -> Row:
    """A node group or add-on. Raises Refusal."""
    if name not in rows:
        raise refuse(f"eks.no_{kind}", name=name, cluster=cluster.name)
    return rows[name]


def tags_of(session: Session, arn: str) -> dict[str, str]:
    """The tags of the resource with this ARN. Raises Refusal."""
    for cluster in clusters(session).values():
        rows = [
            (cluster.row, "arn"),
            *((row, "nodegroupArn") for row in cluster.nodegroups.values()),
            *((row, "addonArn") for row in cluster.addons.values()),
            *((entry.row, "accessEntryArn") for entry in cluster.entries.values()),
            *((row, "associationArn") for row in cluster.associations.values()),
        ]
        for row, key in rows:
            if row[key] == arn:
                tags: dict[str, str] = row.setdefault("tags", {})
                return tags
    raise refuse("eks.no_resource", arn=arn)


def start_update(
    session: Session, cluster: Cluster, kind: str, params: dict[str, Any], *, of: tuple[str, str] = ("", ""), delay: str
) -> Row:
    """A new update that succeeds after a while; `of` is ("nodegroup" | "addon", name)."""
    row: Row = {
        "id": session.uuid(),
        "status": "InProgress",
        "type": kind,
        "params": [{"type": key, "value": str(value)} for key, value in params.items()],
        "createdAt": session.now(),
        "errors": [],
    }
    cluster.updates[row["id"]] = row
    cluster.update_of[row["id"]] = of
    session.world.after(session.delay(delay), lambda: row.update(status="Successful"))
    return row


def without_none(row: Row) -> Row:
    return {key: value for key, value in row.items() if value is not None}
