# SPDX-License-Identifier: Apache-2.0
"""Refuses calls that were denied by the admin address, and a deployer's calls beyond the permissions that we publish, in each service's own words.

A deployer is recognised by its user agent, and held to the statements' resources and conditions. Any other client of the account, for
example a test that creates something, may do everything. A session of a role that has policies may do what these allow, by action
alone: their resources and conditions are not looked at.
"""

from __future__ import annotations

from .authorization import wishes
from .callers import Caller
from .errors import Refusal
from .journal import Entry
from .protocol import Call
from .simulation import actions_of
from .world import Session

# Services whose error code has no "Exception", with its status; EC2 has codes of its own.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_CODES = {
    "ec2": ("UnauthorizedOperation", 403),
    "iam": ("AccessDenied", 403),
    "elb": ("AccessDenied", 403),
    "elbv2": ("AccessDenied", 403),
    "s3": ("AccessDenied", 403),
    "sqs": ("AccessDenied", 403),
    "eks": ("AccessDeniedException", 403),
    "efs": ("AccessDeniedException", 403),
}


# What our connections add to botocore's user agent.
DEPLOYER = "llm.on_eks"


def refuse_denied(session: Session, call: Call, caller: Caller, entry: Entry) -> None:
    """Raises Refusal when the call needs an action that was denied, or for which a deployer or a role has no permission."""
    world = session.world
    published = (
        world.allowed
        if any(name.lower() == "user-agent" and DEPLOYER in text for name, text in entry.headers)
        else None
    )
    role = actions_of(world.config.account, caller.principal) if ":assumed-role/" in caller.arn else None
    if not world.denied and published is None and role is None:
        return
    for wish in wishes(session, call):
        on = wish.refused_on(published) if published is not None else ""
        if on or world.denies(wish.action) or (role is not None and not role(wish.action)):
            code, status = _CODES.get(call.service, ("AccessDeniedException", 400))
            words = (
                f"User: {caller.arn} is not authorized to perform: {wish.action} on resource: {on or wish.resources[0]}"
            )
            raise Refusal(code, f"{words} because no identity-based policy allows the action", status)
        if published is not None:
            world.used.add(wish.action)
