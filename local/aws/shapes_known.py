# SPDX-License-Identifier: Apache-2.0
"""Where moto's answers differ from the service model, harmlessly for a client. A short list, with reasons."""

from __future__ import annotations

import re

# service -> patterns of problems that are accepted; clients drop members that their model does not have
_KNOWN = {
    # AWS itself writes these states in lower case, whatever its model says.
    "ec2": (
        r".*State: '(available|pending|deleting|deleted|failed)' is not one of .*",
        r".*\.Platform: '(windows|Linux/UNIX)' is not one of .*",
        # moto's table of instance types is newer than the model.
        r".*ProcessorInfo\.SupportedFeatures\[\d+\]: .* is not one of .*",
    ),
    "events": (
        r"ListRulesResponse\.Rules\[\d+\]\.\w+: not a member of Rule",
        r"DescribeRuleResponse\.\w+: not a member of .*",
    ),
}


# The same for requests.
_WISHES = {
    # AWS takes the names of message attributes here, although the model lists those of queues:
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    "sqs": (
        r"ReceiveMessageRequest\.AttributeNames\[\d+\]: '(SenderId|SentTimestamp|ApproximateReceiveCount"
        r"|ApproximateFirstReceiveTimestamp|SequenceNumber|MessageDeduplicationId|MessageGroupId|AWSTraceHeader"
        r"|DeadLetterQueueSourceArn)' is not one of .*",
    ),
}


def known_wish(service: str, problem: str) -> bool:
    """Whether AWS takes a value that the model does not have."""
    return any(re.fullmatch(known, problem) for known in _WISHES.get(service, ()))


def known_deviations(service: str, problem: str) -> bool:
    """Whether the problem is one of those."""
    return any(re.fullmatch(known, problem) for known in _KNOWN.get(service, ()))
