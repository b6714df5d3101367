# SPDX-License-Identifier: Apache-2.0
"""What AWS says about instances on the event bus: a spot interruption two minutes ahead, a recommendation, a change of state.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
"""

from __future__ import annotations

import json
from typing import Any

from moto.events.models import events_backends
from moto.sqs.models import sqs_backends

from . import network
from .errors import EmulatorError
from .world import Session

_SPOT, _REBALANCE = "EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"
_STATE = "EC2 Instance State-change Notification"


def interrupt(session: Session, instance_id: str, kind: str) -> None:
    """Say what AWS says before it takes a spot instance; after a warning (`spot`, not `rebalance`) it takes it.

    Raises EmulatorError for an instance that does not run.
    """
    instance = next((one for one in _instances(session) if one.id == instance_id and one.state == "running"), None)
    if instance is None:
        raise EmulatorError(f"aws emulator: no instance {instance_id} runs in {session.region}")
    detail = {"instance-id": instance_id}
    if kind == "rebalance":
        _say(session, _REBALANCE, detail)
        return
    _say(session, _SPOT, {**detail, "instance-action": "terminate"})

    def taken() -> None:
        if instance.state == "running":
            network.ec2(session).terminate_instances([instance_id])
            changed(session, instance_id, "terminated")

    session.world.after(session.delay("spot-interruption"), taken)


def changed(session: Session, instance_id: str, state: str) -> None:
    """Say that an instance has another state."""
    _say(session, _STATE, {"instance-id": instance_id, "state": state})


def _instances(session: Session) -> list[Any]:
    return [one for each in network.ec2(session).reservations.values() for one in each.instances]


def _say(session: Session, detail_type: str, detail: dict[str, str]) -> None:
    event = {
        "version": "0",
        "id": session.uuid(),
        "detail-type": detail_type,
        "source": "aws.ec2",
        "account": session.account,
        "time": session.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": session.region,
        "resources": [session.arn("ec2", f"instance/{detail['instance-id']}")],
        "detail": detail,
    }
    rules = events_backends[session.account][session.region].describe_event_bus("default").rules.values()
    for rule in rules:
        if rule.state == "ENABLED" and rule.event_pattern.matches_event(event):
            for target in rule.targets:
                _deliver(session, str(target["Arn"]), json.dumps(event))


def _deliver(session: Session, arn: str, text: str) -> None:
    """To a queue whose policy lets EventBridge in; other targets are none of ours.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions
    """
    backend = sqs_backends[session.account][session.region]
    queue = backend.queues.get(arn.rsplit(":", 1)[1]) if ":sqs:" in arn else None
    if queue is not None and "events.amazonaws.com" in str(queue.policy):
        backend.send_message(queue_name=queue.name, message_body=text)
