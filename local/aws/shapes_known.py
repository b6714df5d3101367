# SPDX-License-Identifier: Apache-2.0
"""Where moto's answers differ from the service model, harmlessly for a client. A short list, with reasons."""

from __future__ import annotations

import re

from .protocol import Call

# service -> patterns of problems that are accepted; clients drop members that their model does not have
_KNOWN = {
    # AWS itself writes these states in lower case, whatever its model says.
    "ec2": (
        r".*State: '(available|pending|deleting|deleted)' is not one of .*",
        r".*\.Platform: '(windows|Linux/UNIX)' is not one of .*",
        # moto's table of instance types is newer than the model.
        r".*ProcessorInfo\.SupportedFeatures\[\d+\]: .* is not one of .*",
    ),
    "events": (
        r"ListRulesResponse\.Rules\[\d+\]\.\w+: not a member of Rule",
        r"DescribeRuleResponse\.\w+: not a member of .*",
    ),
}


def known_deviations(call: Call, problem: str) -> bool:
    """Whether the problem is one of those."""
    return any(re.fullmatch(known, problem) for known in _KNOWN.get(call.service, ()))
