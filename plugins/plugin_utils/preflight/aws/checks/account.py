# SPDX-License-Identifier: Apache-2.0
"""Checks of permissions and secrets, and the topics that AWS refused to answer."""

from __future__ import annotations

from collections.abc import Iterator

from ...findings import Finding
from ..facts import Facts
from ..wanted import Wanted

POLICY = "docs/aws_permissions.json"


def permissions(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The caller has the permissions that a deployer needs, by IAM's policy simulation."""
    if facts.denied is None:
        return
    by_reason: dict[str, list[str]] = {}
    for action, reason in facts.denied.items():
        by_reason.setdefault(reason, []).append(action)
    for reason, actions in sorted(by_reason.items()):
        services: dict[str, list[str]] = {}
        for action in sorted(actions):
            service, __, verb = action.partition(":")
            services.setdefault(service, []).append(verb)
        named = "; ".join(f"{service}: {_some(verbs)}" for service, verbs in services.items())
        mend = (
            f"attach the policy of {POLICY}, for names that begin like {wanted.cluster}"
            if reason == "no policy allows it"
            else "have that lifted"
        )
        yield Finding(facts.caller, f"may not do {len(actions)} of what is needed ({reason}): {named}", mend)


def secrets(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Tokens that sources of the catalogue require."""
    gated = [model.name for model in wanted.models if model.given.source.startswith("hf://")]
    if gated and not facts.hugging_face_token:
        yield Finding(
            "HF_TOKEN",
            f"is not set, and {_some(gated)} {'come' if len(gated) > 1 else 'comes'} from Hugging Face, which serves gated models "
            "only with a token and limits requests without one",
            "set it to a read token, or sign in with `hf auth login`",
            severity="warning",
        )


def spot(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """The account has the role without which no spot instance starts; Karpenter may not make it."""
    if facts.spot_role is False:
        problem = "allows spot, and the account lacks the role AWSServiceRoleForEC2Spot, without which none starts"
        yield Finding("karpenter_capacity", problem, "run playbooks/account.yml, which makes it")


def unseen(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Every topic that AWS refused to answer."""
    for topic, sentence in sorted(facts.refused.items()):
        yield Finding(
            topic, f"could not be checked: {sentence}", "allow that call, or check it yourself", severity="warning"
        )


def _some(words: list[str], most: int = 6) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
