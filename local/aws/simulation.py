# SPDX-License-Identifier: Apache-2.0
"""IAM's policy simulation of a principal, which moto lacks: actions and resources with their wildcards, no conditions.

The configured caller has no policies and owns the account: it may do everything except what the admin address denied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from moto.iam.models import iam_backends

from .errors import Refusal
from .world import Params, Result, Session, operation


@operation("iam", "SimulatePrincipalPolicy")
def simulate_principal_policy(session: Session, params: Params) -> Result:
    source = params["PolicySourceArn"]
    documents = None if source == session.world.config.caller_arn else list(_documents(session.account, source))
    resources = params.get("ResourceArns") or ["*"]
    rows = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": "explicitDeny" if session.world.denies(action) else _decide(documents, action, resource),
        }
        for action in params["ActionNames"]
        for resource in resources
    ]
    return {"EvaluationResults": rows, "IsTruncated": False}


def actions_of(account: str, role: str) -> Callable[[str], bool] | None:
    """Whether a role's policies allow an action on anything, whatever their conditions say; None for a role without policies."""
    statements = [one for document in _documents(account, role) for one in _list(document["Statement"])]
    allowed = [each for one in statements if one["Effect"] == "Allow" for each in _list(one.get("Action", []))]
    if not statements:
        return None
    return lambda action: (
        action == "sts:GetCallerIdentity" or any(fnmatchcase(action.lower(), pattern.lower()) for pattern in allowed)
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


def _decide(documents: list[Any] | None, action: str, resource: str) -> str:
    if documents is None:
        return "allowed"
    effects = {effect for document in documents for effect in _effects(document, action, resource)}
    return "explicitDeny" if "Deny" in effects else "allowed" if "Allow" in effects else "implicitDeny"


def _effects(document: Any, action: str, resource: str) -> Iterator[str]:
    for statement in _list(document["Statement"]):
        covers = any(fnmatchcase(action.lower(), pattern.lower()) for pattern in _list(statement.get("Action", [])))
        if covers and any(fnmatchcase(resource, pattern) for pattern in _list(statement.get("Resource", "*"))):
            yield str(statement["Effect"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
