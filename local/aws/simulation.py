# SPDX-License-Identifier: Apache-2.0
"""IAM's policy simulation of a principal, which moto lacks: actions and resources with their wildcards, and conditions on the given keys.

The configured caller has no policies and owns the account: it may do everything except what the admin address denied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from moto.iam.models import iam_backends

from . import conditions
from .authorization import Wish
from .errors import Refusal
from .world import Params, Result, Session, operation


@operation("iam", "SimulatePrincipalPolicy")
def simulate_principal_policy(session: Session, params: Params) -> Result:
    source = params["PolicySourceArn"]
    documents = None if source == session.world.config.caller_arn else list(_documents(session.account, source))
    resources = params.get("ResourceArns") or ["*"]
    given = params.get("ContextEntries") or []
    context = {row["ContextKeyName"]: tuple(row["ContextKeyValues"]) for row in given}
    rows = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": "explicitDeny"
            if session.world.denies(action)
            else _decide(documents, Wish(action, (resource,), context)),
        }
        for action in params["ActionNames"]
        for resource in resources
    ]
    return {"EvaluationResults": rows, "IsTruncated": False}


def actions_of(account: str, role: str) -> Callable[[str], bool] | None:
    """Whether a role's policies allow an action on anything, whatever their conditions say; None for a role without policies."""
    statements = [one for document in _documents(account, role) for one in conditions.list_of(document["Statement"])]
    allowed = [
        each for one in statements if one["Effect"] == "Allow" for each in conditions.list_of(one.get("Action", []))
    ]
    if not statements:
        return None
    return lambda action: (
        action == "sts:GetCallerIdentity" or any(conditions.like(action.lower(), one.lower()) for one in allowed)
    )


def _documents(account: str, source: str) -> Iterator[Any]:
    backend = iam_backends[account]["aws"]
    name = source.rsplit("/", 1)[-1]
    if ":user/" in source and name in backend.users:
        user = backend.users[name]
        owners = [user, *backend.get_groups_for_user(name)]
    else:
        owners = [role for role in backend.roles.values() if role.arn == source]
    if not owners:
        raise Refusal("NoSuchEntity", f"The entity with ARN {source} cannot be found.", 404)
    for owner in owners:
        inline = owner.policies
        yield from (json.loads(text) for text in (inline.values() if isinstance(inline, dict) else inline))
        for policy in owner.managed_policies.values():
            yield from (json.loads(one.document) for one in policy.versions if one.is_default)


def _decide(documents: list[Any] | None, wish: Wish) -> str:
    if documents is None:
        return "allowed"
    statements = [one for document in documents for one in conditions.list_of(document["Statement"])]
    effects = wish.effects_on(statements, wish.resources[0])
    return "explicitDeny" if "Deny" in effects else "allowed" if "Allow" in effects else "implicitDeny"
