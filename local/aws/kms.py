# SPDX-License-Identifier: Apache-2.0
"""Keys whose own policy hides them from everybody here: without the account's root in it no IAM policy helps.

https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

from __future__ import annotations

import json
from typing import Any

from moto.kms.models import kms_backends

from .errors import refuse
from .world import Params, Session, guard


def _refuse_hidden(session: Session, params: Params) -> None:
    keys = kms_backends[session.account][session.region].keys
    key = keys.get(str(params["KeyId"]).rsplit("/", 1)[-1])
    if key is not None and not _shown_to(session, json.loads(key.policy)):
        raise refuse("kms.hidden", caller=session.caller_arn)


def _shown_to(session: Session, policy: dict[str, Any]) -> bool:
    root = f"arn:{session.partition}:iam::{session.account}:root"
    return any(
        statement["Effect"] == "Allow"
        and any(one in json.dumps(statement["Principal"]) for one in (root, session.caller_arn))
        for statement in policy["Statement"]
    )


for _operation in ("DescribeKey", "ListResourceTags", "GetKeyRotationStatus", "TagResource", "ScheduleKeyDeletion"):
    guard("kms", _operation)(_refuse_hidden)
