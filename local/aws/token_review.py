# SPDX-License-Identifier: Apache-2.0
"""The webhook that an API server asks about a bearer token: signature → caller → access entry → user and groups."""

from __future__ import annotations

from typing import Any

from .callers import verify
from .eks.access import POLICIES, lets_in
from .eks.state import Entry, clusters
from .world import Session

# On EKS an access policy is its own authorizer; here it is a group, bound to the ClusterRole of the same meaning.
# AmazonEKSClusterAdminPolicy is system:masters; the rest needs bindings for these groups.
GROUPS = {name: f"eks-access-policy:{name}" for name in POLICIES} | {POLICIES[0]: "system:masters"}


def review(session: Session, cluster_name: str, document: dict[str, Any]) -> dict[str, Any]:
    """The answered TokenReview (authentication.k8s.io/v1)."""
    status: dict[str, Any] = {"authenticated": False}
    cluster = clusters(session).get(cluster_name)
    token = (document.get("spec") or {}).get("token") or ""
    caller = verify(session.world.config, token, cluster_name) if cluster else None
    entry = cluster.entries.get(caller.principal) if cluster and caller else None
    if caller and entry and lets_in(session, entry):
        status = {"authenticated": True, "user": _user(caller.arn, entry)}
    return {
        "apiVersion": document.get("apiVersion", "authentication.k8s.io/v1"),
        "kind": "TokenReview",
        "status": status,
    }


def _user(arn: str, entry: Entry) -> dict[str, Any]:
    groups = list(entry.row["kubernetesGroups"])
    for policy, scope in entry.policies.items():
        if scope["type"] == "cluster":
            groups.append(GROUPS[policy.rsplit("/", 1)[1]])
    username = str(entry.row["username"]).replace("{{SessionName}}", arn.rsplit("/", 1)[1])
    extra = {"arn": [arn], "principalId": [entry.row["principalArn"]]}
    return {"username": username, "uid": f"aws-iam-authenticator:{arn}", "groups": groups, "extra": extra}
