# SPDX-License-Identifier: Apache-2.0
"""IAM's limits on the size and number of policies, which moto knows and does not hold to.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from moto.iam.models import iam_backends

from .errors import refuse
from .world import Params, Session, guard

_MANAGED, _PER_ROLE, _TRUST = 6144, 10, 2048
# Operation -> characters of all inline policies of one such identity.
_INLINE = {"PutRolePolicy": 10240, "PutUserPolicy": 2048, "PutGroupPolicy": 5120}


def _size(text: str) -> int:
    """White space does not count."""
    return len("".join(text.split()))


def _refuse_long_policy(session: Session, params: Params) -> None:
    if _size(params["PolicyDocument"]) > _MANAGED:
        raise refuse("iam.policy_size", most=_MANAGED)


def _refuse_long_trust(session: Session, params: Params) -> None:
    text = params.get("AssumeRolePolicyDocument") or params.get("PolicyDocument") or ""
    if _size(text) > _TRUST:
        raise refuse("iam.trust_size", most=_TRUST)


def _refuse_long_inline(operation: str, session: Session, params: Params) -> None:
    noun = operation.removeprefix("Put").removesuffix("Policy")
    name = params[f"{noun}Name"]
    found = _inline(session, noun.lower(), name) | {params["PolicyName"]: params["PolicyDocument"]}
    if sum(map(_size, found.values())) > _INLINE[operation]:
        raise refuse("iam.inline_size", most=_INLINE[operation], noun=noun.lower(), name=name)


def _inline(session: Session, noun: str, name: str) -> dict[str, str]:
    backend = iam_backends[session.account][session.partition]
    if noun == "role":
        policies: Any = next((role.policies for role in backend.roles.values() if role.name == name), {})
    else:
        owner = (backend.users if noun == "user" else backend.groups).get(name)
        policies = owner.policies if owner is not None else {}
    return dict(policies) if isinstance(policies, dict) else {}


@guard("iam", "AttachRolePolicy")
def refuse_many(session: Session, params: Params) -> None:
    roles = iam_backends[session.account][session.partition].roles.values()
    attached: dict[str, Any] = next((role.managed_policies for role in roles if role.name == params["RoleName"]), {})
    if params["PolicyArn"] not in attached and len(attached) >= _PER_ROLE:
        raise refuse("iam.policies_per_role", most=_PER_ROLE)


for _operation in ("CreatePolicy", "CreatePolicyVersion"):
    guard("iam", _operation)(_refuse_long_policy)
for _operation in ("CreateRole", "UpdateAssumeRolePolicy"):
    guard("iam", _operation)(_refuse_long_trust)
for _operation in _INLINE:
    guard("iam", _operation)(partial(_refuse_long_inline, _operation))
