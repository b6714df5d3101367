# SPDX-License-Identifier: Apache-2.0
"""CloudWatch log groups. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import given, text
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class LogGroup(AwsResource):
    """A log group with a retention: without one logs are kept, and paid for, for ever."""

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
        "retention_days": {"type": "int", "default": 30},
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

    def made(self, current: State) -> State:
        return {"name": current["logGroupName"], "arn": current["arn"]}


def _arn(row: State) -> str:
    """The ARN that the tag calls take has no `:*` at its end."""
    return str(row.get("logGroupArn") or row["arn"].removesuffix(":*"))
