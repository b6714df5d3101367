# SPDX-License-Identifier: Apache-2.0
"""CloudWatch log groups. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html"""

from __future__ import annotations

from ..base.arguments import given, text
from ..base.plan import Rules, State
from ..base.resource import AwsResource


class LogGroup(AwsResource):
    """A log group with a retention: without one logs are kept, and paid for, for ever."""

    kind = "log_group"
    service, noun = "logs", "log group"
    not_found = ("ResourceNotFoundException",)
    produces = ("name", "arn")
    rules = Rules(fixed=("kmsKeyId",))
    arguments = {
        "name": text(required=True),
        "retention_days": {"type": "int", "default": 30},
        "kms_key_arn": text(),
    }

    def read(self) -> State | None:
        name = self.params["name"]
        rows = self.listed("describe_log_groups", "logGroups", logGroupNamePrefix=name)
        row: State | None = next((row for row in rows if row["logGroupName"] == name), None)
        if row is None:
            return None
        return {**row, "tags": self.call("list_tags_for_resource", resourceArn=self._arn(row)).get("tags", {})}

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

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        arn = self._arn(current)
        if to_set:
            self.call("tag_resource", resourceArn=arn, tags=to_set)
        if to_unset:
            self.call("untag_resource", resourceArn=arn, tagKeys=to_unset)

    @staticmethod
    def _arn(row: State) -> str:
        """The ARN that the tag calls take has no `:*` at its end."""
        return str(row.get("logGroupArn") or row["arn"].removesuffix(":*"))

    def made(self, current: State) -> State:
        return {"name": current["logGroupName"], "arn": self._arn(current)}
