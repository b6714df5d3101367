# SPDX-License-Identifier: Apache-2.0
"""SQS queues. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import text, texts
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class SqsQueue(AwsResource):
    """A standard queue, encrypted by SQS. `senders`: services that may send to it; TLS is required."""

    kind = "sqs_queue"
    stands_on = ()
    carries_traffic = False
    tagging = Tagging("QueueUrl", "url", "tag_queue", "untag_queue", form="map")
    # A queue's name is free again only 60 s after its deletion.
    passing = {"create_queue": ("wait 60 seconds",)}
    service, noun = "sqs", "SQS queue"
    not_found = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
    produces = ("name", "url", "arn")
    rules = Rules(documents=("Policy",))
    arguments = {
        "name": text(required=True),
        "retention_s": {"type": "int", "default": 300},
        "visibility_timeout_s": {"type": "int", "default": 30},
        "senders": texts(default=[]),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(url: str) -> Any:
            return looker.call("sqs", "list_queue_tags", QueueUrl=url).get("Tags") or {}

        # Without a page size SQS returns only a thousand, and no token for more.
        for url, tags in looker.with_tags(looker.list("sqs", "list_queues", "QueueUrls", MaxResults=1000), tags_of):
            yield looker.item(cls.kind, url, tags, name=url.rsplit("/", 1)[1])

    def read(self) -> State:
        url = self.call("get_queue_url", QueueName=self.params["name"])["QueueUrl"]
        row: State = self.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {**row, "url": url, "tags": self.call("list_queue_tags", QueueUrl=url).get("Tags", {})}

    def desired(self, current: State | None) -> State:
        p = self.params
        policy = _policy(self.connection.arn("sqs", p["name"]), p["senders"])
        return {
            "MessageRetentionPeriod": str(p["retention_s"]),
            "VisibilityTimeout": str(p["visibility_timeout_s"]),
            "SqsManagedSseEnabled": "true",
            "Policy": json.dumps(policy, sort_keys=True),
        }

    def create(self, desired: State) -> None:
        self.call(
            "create_queue",
            QueueName=self.params["name"],
            Attributes=desired,
            tags=self.tags,
        )

    def update(self, changed: State, current: State) -> None:
        self.call("set_queue_attributes", QueueUrl=current["url"], Attributes=changed)

    def remove(self, current: State) -> None:
        self.call("delete_queue", QueueUrl=current["url"])

    def made(self, current: State) -> State:
        return {"name": self.params["name"], "url": current["url"], "arn": current["QueueArn"]}


def _policy(arn: str, senders: list[str]) -> dict[str, Any]:
    deny = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    send = {
        "Sid": "Send",
        "Effect": "Allow",
        "Principal": {"Service": senders},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    return {"Version": "2012-10-17", "Statement": [*([send] if senders else []), deny]}
