# SPDX-License-Identifier: Apache-2.0
"""Log groups: the numbers of days that the service accepts, and the group of a cluster that EKS writes again after the cluster's end.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html,
https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763
"""

from __future__ import annotations

from moto.logs.models import logs_backends

from .errors import refuse
from .world import Params, Result, Session, guard, overlay

_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
# Seconds from the deletion of a group to the last events of a cluster, which create it again.
_AGAIN_S = 1.0


@guard("logs", "PutRetentionPolicy")
def put_retention_policy(session: Session, params: Params) -> None:
    if params["retentionInDays"] not in _DAYS:
        raise refuse("logs.retention", days=params["retentionInDays"])


def cluster_gone(session: Session, cluster: str, *, writes: bool) -> None:
    """Its last events arrive for a while: when its group is deleted meanwhile, a new one appears."""
    until = _late(session)
    late = session.delay("late-logs")
    if writes and late:
        until[f"/aws/eks/{cluster}/cluster"] = session.world.clock.now + late


@guard("logs", "DeleteLogGroup")
def forget_tags(session: Session, params: Params) -> None:
    """A new group of this name has none of the tags, which moto keeps by ARN."""
    backend = logs_backends[session.account][session.region]
    group = backend.groups.get(params["logGroupName"])
    if group is not None:
        backend.tagger.delete_all_tags_for_resource(group.arn)


@overlay("logs", "DeleteLogGroup")
def delete_log_group(session: Session, params: Params, result: Result) -> Result:
    name = params["logGroupName"]
    if session.world.clock.now < _late(session).get(name, 0.0):
        session.world.after(_AGAIN_S, lambda: _make(session, name))
    return result


def _make(session: Session, name: str) -> None:
    backend = logs_backends[session.account][session.region]
    if name not in backend.groups:
        backend.create_log_group(name, {})


def _late(session: Session) -> dict[str, float]:
    """Name of a group -> until when events for it arrive."""
    found: dict[str, float] = session.store("late logs", dict)
    return found
