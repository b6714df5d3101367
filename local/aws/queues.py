# SPDX-License-Identifier: Apache-2.0
"""Long polls of queues. moto waits for its clock, which stands still within a request: so the wait is made outside of one.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlencode

from .journal import Entry

LOOK_AGAIN_S = 0.2
_LONGEST_S = 20
_WAIT = "WaitTimeSeconds"


def wait_s(entry: Entry) -> float:
    """How long a request wants to wait for a message; 0 for every other request."""
    if b"ReceiveMessage" not in entry.body and not _is_json_poll(entry):
        return 0
    try:
        given = _fields(entry).get(_WAIT, 0)
        return min(max(float(str(given)), 0), _LONGEST_S)
    except ValueError:
        return 0


def at_once(entry: Entry) -> Entry:
    """The same request without a wait, also where the queue has one of its own."""
    fields = {**_fields(entry), _WAIT: 0}
    if _is_json_poll(entry):
        return _with_body(entry, json.dumps(fields).encode())
    return _with_body(entry, urlencode(fields).encode())


def is_empty(body: bytes) -> bool:
    """Whether an answer has no message."""
    return b"MessageId" not in body


def _is_json_poll(entry: Entry) -> bool:
    return any(name.lower() == "x-amz-target" and text == "AmazonSQS.ReceiveMessage" for name, text in entry.headers)


def _fields(entry: Entry) -> dict[str, object]:
    if _is_json_poll(entry):
        found = json.loads(entry.body or b"{}")
        return dict(found) if isinstance(found, dict) else {}
    return {name: values[0] for name, values in parse_qs(entry.body.decode()).items()}


def _with_body(entry: Entry, body: bytes) -> Entry:
    headers = [(name, text) for name, text in entry.headers if name.lower() != "content-length"]
    return replace(entry, body=body, headers=headers)
