# SPDX-License-Identifier: Apache-2.0
"""Calls that an administrator denied, and calls of a deployer beyond the permissions that we publish, in each service's own words.

A deployer is known by its user agent; whoever else uses the account, tests that plant something for instance, may do everything.
"""

from __future__ import annotations

from tools.aws_permissions import actions

from .errors import Refusal
from .journal import Entry
from .protocol import Call
from .world import World

# Services without "Exception" in the code, with its status; EC2 has words of its own.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_CODES = {
    "ec2": ("UnauthorizedOperation", 403),
    "iam": ("AccessDenied", 403),
    "elbv2": ("AccessDenied", 403),
    "s3": ("AccessDenied", 403),
    "sqs": ("AccessDenied", 403),
    "eks": ("AccessDeniedException", 403),
    "efs": ("AccessDeniedException", 403),
}


# What our connections add to botocore's user agent.
DEPLOYER = "llm.on_eks"


def refuse_denied(world: World, call: Call, caller_arn: str, entry: Entry) -> None:
    """Raises Refusal when the call needs an action that was denied, or that a deployer has no permission for."""
    bound = world.allowed is not None and any(
        name.lower() == "user-agent" and DEPLOYER in value for name, value in entry.headers
    )
    if not world.denied and not bound:
        return
    for action in actions([f"{call.service}:{call.name}"]):
        if world.denies(action) or (bound and not world.allows(action)):
            code, status = _CODES.get(call.service, ("AccessDeniedException", 400))
            words = f"User: {caller_arn} is not authorized to perform: {action}"
            raise Refusal(code, f"{words} because no identity-based policy allows the action", status)
