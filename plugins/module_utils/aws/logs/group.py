# SPDX-License-Identifier: Apache-2.0
"""CloudWatch log groups. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...names import TAG_CLUSTER
from ..base.arguments import given, text
from ..base.plan import Plan, Rules, State
from ..base.resource import AwsResource, Owner
from ..base.tagging import Tagging
from ..eks.base import cluster_named

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


# Numbers of days that the service accepts:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTIONS = [
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
]
# EKS writes a deleted cluster's last events for a while. https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763
_QUIET_S = 3


class LogGroup(AwsResource):
    """A log group with a retention: without one logs are kept, and cost money, for ever."""

    kind = "log_group"
    stands_on = ()
    carries_traffic = False
    tagging = Tagging("resourceArn", "arn", tags="tags", keys="tagKeys", form="map")
    passing = {}
    service, noun = "logs", "log group"
    not_found = ("ResourceNotFoundException",)
    produces = ("name", "arn")
    rules = Rules(fixed=("kmsKeyId",))
    arguments = {
        "name": text(required=True),
        "retention_days": {"type": "int", "default": 30, "choices": RETENTIONS},
        "kms_key_arn": text(),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.call("logs", "list_tags_for_resource", resourceArn=_arn(row)).get("tags") or {}

        for row, tags in looker.with_tags(looker.list("logs", "describe_log_groups", "logGroups"), tags_of):
            yield looker.item(cls.kind, row["logGroupName"], tags, name=row["logGroupName"], price_per_hour=None)

    def read(self) -> State | None:
        name = self.params["name"]
        rows = self.listed("describe_log_groups", "logGroups", logGroupNamePrefix=name)
        row: State | None = next((row for row in rows if row["logGroupName"] == name), None)
        if row is None:
            return None
        arn = _arn(row)
        return {**row, "arn": arn, "tags": self.call("list_tags_for_resource", resourceArn=arn).get("tags", {})}

    def _refuse_strangers(self, current: State | None) -> None:
        """A group that EKS wrote again after an earlier cluster of ours was deleted carries no mark. Without such a cluster it is
        taken over.

        https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763
        """
        marked = current is not None and TAG_CLUSTER in self.tags_of(current)
        if (
            marked
            or not self.owner
            or not self._is_of_a_cluster(self.owner)
            or (current is not None and self._foreign_cluster(self.owner))
        ):
            super()._refuse_strangers(current)

    def _is_of_a_cluster(self, owner: Owner | None) -> bool:
        """Whether it is the group that EKS writes a cluster's logs to."""
        return owner is not None and self.params["name"] == f"/aws/eks/{owner.cluster}/cluster"

    def _foreign_cluster(self, owner: Owner) -> bool:
        found = cluster_named(self, owner.cluster)
        return found is not None and not owner.owns(found.get("tags") or {})

    def desired(self, current: State | None) -> State:
        return {"retentionInDays": self.params["retention_days"], "kmsKeyId": self.params["kms_key_arn"]}

    def create(self, desired: State) -> None:
        key = given(kmsKeyId=desired.get("kmsKeyId"))
        self.call("create_log_group", logGroupName=self.params["name"], **key, tags=self.tags)
        self.update(desired, {})

    def update(self, changed: State, current: State) -> None:
        days = changed["retentionInDays"]
        self.call("put_retention_policy", logGroupName=self.params["name"], retentionInDays=days)

    def remove(self, current: State) -> None:
        self.call("delete_log_group", logGroupName=self.params["name"])

    def delete(self, *, wait: bool = True) -> Plan:
        """Also what the last events of a deleted cluster write again, as long as they come."""
        plan = super().delete(wait=wait)
        if wait and plan.verb == "delete" and self._is_of_a_cluster(self.owner):
            self._delete_what_comes_again()
        return plan

    def _delete_what_comes_again(self) -> None:
        """Until nothing came for a few seconds. What comes later still is taken over by the next cluster of this name."""
        quiet_s = 0
        while quiet_s < _QUIET_S:
            self.connection.sleep(1)
            quiet_s += 1
            if self.look() is not None:
                quiet_s = 0
                self.remove(self.params)

    def made(self, current: State) -> State:
        return {"name": current["logGroupName"], "arn": current["arn"]}


def _arn(row: State) -> str:
    """The ARN for tag calls, without `:*` at its end."""
    return str(row.get("logGroupArn") or row["arn"].removesuffix(":*"))
