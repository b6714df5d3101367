# SPDX-License-Identifier: Apache-2.0
"""EventBridge rules. https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

_TARGET = {"id": text(required=True), "arn": text(required=True)}


class EventsRule(AwsResource):
    """A rule on the default bus and its targets. Targets that we do not name are removed."""

    kind = "events_rule"
    stands_on = ("sqs_queue",)
    carries_traffic = False
    tagging = Tagging("ResourceARN", "Arn")
    passing = {}
    service, noun = "events", "EventBridge rule"
    not_found = ("ResourceNotFoundException",)
    produces = ("name", "arn")
    rules = Rules(documents=("EventPattern",), exact=("targets",))
    arguments = {
        "name": text(required=True),
        "description": text(),
        "pattern": {"type": "dict"},
        "targets": {"type": "list", "elements": "dict", "options": _TARGET, "default": []},
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.call("events", "list_tags_for_resource", ResourceARN=row["Arn"])["Tags"]

        for row, tags in looker.with_tags(looker.list("events", "list_rules", "Rules"), tags_of):
            yield looker.item(cls.kind, row["Name"], tags, name=row["Name"], state=str(row.get("State") or ""))

    def read(self) -> State:
        row = self.call("describe_rule", Name=self.params["name"])
        targets = self.listed("list_targets_by_rule", "Targets", Rule=self.params["name"])
        tags = self.call("list_tags_for_resource", ResourceARN=row["Arn"])["Tags"]
        return {**row, "targets": {target["Id"]: target["Arn"] for target in targets}, "tags": tags}

    def desired(self, current: State | None) -> State:
        p = self.params
        return {
            "EventPattern": json.dumps(p["pattern"], sort_keys=True) if p["pattern"] else None,
            "Description": p["description"],
            "State": "ENABLED",
            "targets": {target["id"]: target["arn"] for target in p["targets"]},
        }

    def create(self, desired: State) -> None:
        fields = {key: value for key, value in desired.items() if key != "targets"}
        self.call("put_rule", Name=self.params["name"], **fields, Tags=tag_list(self.tags))
        self._targets(desired.get("targets", {}), {})

    def update(self, changed: State, current: State) -> None:
        if set(changed) - {"targets"}:
            # The call sets the whole rule; tags can only be given when it is created.
            whole = {
                key: value for key, value in self.desired(current).items() if value is not None and key != "targets"
            }
            self.call("put_rule", Name=self.params["name"], **whole)
        if "targets" in changed:
            self._targets(changed["targets"], current["targets"])

    def _targets(self, wanted: dict[str, str], have: dict[str, str]) -> None:
        new = [{"Id": name, "Arn": arn} for name, arn in wanted.items() if have.get(name) != arn]
        gone = [name for name in have if name not in wanted]
        if new:
            self._refuse_failed(self.call("put_targets", Rule=self.params["name"], Targets=new))
        if gone:
            self._refuse_failed(self.call("remove_targets", Rule=self.params["name"], Ids=gone))

    def _refuse_failed(self, answer: State) -> None:
        if answer.get("FailedEntryCount"):
            why = "; ".join(entry.get("ErrorMessage", "") for entry in answer["FailedEntries"])
            raise AwsError(f"{self.subject}: targets were not taken: {why}")

    def remove(self, current: State) -> None:
        self._targets({}, current["targets"])
        self.call("delete_rule", Name=self.params["name"])

    def made(self, current: State) -> State:
        return {"name": current["Name"], "arn": current["Arn"]}
