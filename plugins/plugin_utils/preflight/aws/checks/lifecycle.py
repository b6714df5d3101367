# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes version and its support, and names that are taken."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from .....module_utils.aws.estimate.advice import kubernetes_version
from .....module_utils.aws.reference import kubernetes, prices, quotas
from .....module_utils.names import TAG_CLUSTER
from ...findings import Finding, Severity
from ..facts import Facts
from ..wanted import Wanted

# Subjects of data that ages → the day it is as of; what the account is asked anyway is not among them.
AGES = {"prices": prices.AS_OF, "quota codes": quotas.AS_OF, "kubernetes": kubernetes.AS_OF}
_MOST_DAYS = 90
_REFRESH = "run playbooks/lock.yml, which asks the account, and commit what it writes; or take a newer release of this collection"


def version(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """EKS offers the version, supports it for a while yet, and the cluster can be upgraded to it."""
    place = wanted.places.get("cluster_version")
    if wanted.adopt or not wanted.version:
        return
    if facts.versions is not None:
        for advice in kubernetes_version(wanted.version, facts.versions, facts.today):
            severity: Severity = "error" if advice.severity == "hard" else "warning"
            yield Finding("cluster_version", f"{wanted.version} {advice.problem}", advice.mend, place, severity)
    here = facts.cluster
    if here and here.owner == wanted.cluster and _minor(wanted.version) < _minor(here.version):
        problem = f"is {wanted.version}, and the cluster runs {here.version}: it stays there, for EKS does not go back"
        yield Finding("cluster_version", problem, f"set it to {here.version} or higher", place, "warning")


def ages(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """What AWS publishes and changes is known as of a day that is not long ago, and a protected cluster's add-ons are pinned."""
    known = wanted.reference
    days = {subject: str(known.get("as_of") or day) if known.get(subject) else day for subject, day in AGES.items()}
    for subject, day in days.items():
        old = (facts.today - datetime.date.fromisoformat(day)).days
        if old > _MOST_DAYS:
            problem = f"{subject} are known as of {day}, {old} days ago"
            yield Finding("platform_reference", problem, _REFRESH, severity="warning")
    pinned = (known.get("addons") or {}).get(wanted.version) or {}
    floating = [name for name in wanted.addons if name not in pinned]
    if wanted.protected and floating:
        problem = f"pins no version of {', '.join(floating)} for Kubernetes {wanted.version}: AWS moves its defaults, and a run follows them"
        yield Finding("platform_reference", problem, _REFRESH, severity="warning")


def names(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """What is to be created does not exist under another mark, or without one; what is to be adopted exists."""
    for taken in facts.taken or ():
        if taken.owner == wanted.cluster:
            continue
        whose = f"marked for {taken.owner}" if taken.owner else f"without our mark ({TAG_CLUSTER})"
        mend = "choose another platform_cluster_name, or remove it"
        if taken.kind == "eks_cluster":
            mend = "choose another platform_cluster_name, or set cluster_adopt: true to use it as it is"
        elif taken.kind == "log_group":
            mend = "choose another platform_cluster_name, or delete the log group that an earlier cluster left"
        place = wanted.places.get(taken.variable)
        yield Finding(taken.variable, f"names the {taken.noun} {taken.name}, which exists {whose}", mend, place)
    if wanted.adopt and facts.cluster is None and "cluster" not in facts.refused:
        problem = f"is true, and there is no cluster {wanted.cluster} in {wanted.region}"
        yield Finding("cluster_adopt", problem, "check name and region", wanted.places.get("cluster_adopt"))
    place = wanted.places.get("platform_state_bucket")
    if facts.bucket == "foreign":
        problem = f"is {wanted.state_bucket}, a bucket that somebody else has, or that you may not use"
        yield Finding("platform_state_bucket", problem, "choose another name, or get access to it", place)
    elif facts.bucket == "free":
        problem = f"is {wanted.state_bucket}, which does not exist yet: runs cannot hold a lock there"
        yield Finding(
            "platform_state_bucket", problem, "run playbooks/account.yml once for the account", place, "warning"
        )


def _minor(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
