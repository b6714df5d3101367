# SPDX-License-Identifier: Apache-2.0
"""Access entries and their policies: who may use a cluster's API."""

from __future__ import annotations

import re

from .. import network
from ..errors import refuse
from ..world import Params, Result, Session, operation
from .state import Cluster, Entry, Row, cluster_of, tags_of

POLICY = "arn:{partition}:eks::aws:cluster-access-policy/{name}"
ADMIN = "AmazonEKSClusterAdminPolicy"
POLICIES = [ADMIN, "AmazonEKSAdminPolicy", "AmazonEKSEditPolicy", "AmazonEKSViewPolicy", "AmazonEKSAdminViewPolicy"]
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(role|user|root)(/.+)?")


def bootstrap_entry(session: Session, cluster: Cluster) -> None:
    """The creator's own entry."""
    entry = _make(session, cluster, {"principalArn": session.caller_arn})
    arn = POLICY.format(partition=session.partition, name=ADMIN)
    entry.associate(arn, {"type": "cluster", "namespaces": []}, session.now())


def _make(session: Session, cluster: Cluster, params: Params) -> Entry:
    principal = params["principalArn"]
    kind, __, name = principal.split(":")[5].partition("/")
    row: Row = {
        "clusterName": cluster.name,
        "principalArn": principal,
        "kubernetesGroups": list(params.get("kubernetesGroups") or []),
        "accessEntryArn": session.arn(
            "eks", f"access-entry/{cluster.name}/{kind}/{session.account}/{name or 'root'}/{session.uuid()}"
        ),
        "createdAt": session.now(),
        "modifiedAt": session.now(),
        "tags": dict(params.get("tags") or {}),
        "username": params.get("username") or _username(principal, params.get("type") or "STANDARD"),
        "type": params.get("type") or "STANDARD",
    }
    cluster.entries[principal] = Entry(row, _id_of(session, principal))
    return cluster.entries[principal]


def _id_of(session: Session, principal: str) -> str:
    """Of a role: another one of the same name has another id."""
    return next((str(role.id) for role in network.iam(session).get_roles() if role.arn == principal), "")


def lets_in(session: Session, entry: Entry) -> bool:
    """Whether the role is still the one that the entry was made for: https://github.com/aws/containers-roadmap/issues/2631"""
    return not entry.principal_id or entry.principal_id == _id_of(session, entry.row["principalArn"])


def admit_nodes(session: Session, cluster: Cluster, role: str) -> bool:
    """EKS makes the entry of a node group's role itself, where there is none, and leaves one that is there as it is.

    False when the one that is there lets no node in. https://github.com/aws/containers-roadmap/issues/2425
    """
    if cluster.row["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        return True
    entry = cluster.entries.get(role) or _make(session, cluster, {"principalArn": role, "type": "EC2_LINUX"})
    return lets_in(session, entry)


def _username(principal: str, kind: str) -> str:
    """EKS's own user names: https://docs.aws.amazon.com/eks/latest/userguide/creating-access-entries.html"""
    if kind != "STANDARD":
        return "system:node:{{EC2PrivateDNSName}}"
    if ":role/" in principal:
        partition, account = principal.split(":")[1], principal.split(":")[4]
        return f"arn:{partition}:sts::{account}:assumed-role/{principal.rsplit('/', 1)[1]}/{{{{SessionName}}}}"
    return principal


def _entry(session: Session, params: Params) -> tuple[Cluster, Entry]:
    cluster = cluster_of(session, params)
    found = cluster.entries.get(params["principalArn"])
    if found is None:
        raise refuse("eks.no_access_entry")
    return cluster, found


@operation("eks", "CreateAccessEntry")
def create_access_entry(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    if cluster.row["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise refuse("eks.access_needs_api")
    principal = params["principalArn"]
    if not _PRINCIPAL.fullmatch(principal):
        raise refuse("eks.principal_invalid", principal=principal)
    network.require_principal(session, principal, "eks.principal_invalid")
    if principal in cluster.entries:
        raise refuse("eks.access_entry_exists")
    if (params.get("type") or "STANDARD") != "STANDARD" and params.get("kubernetesGroups"):
        raise refuse("eks.groups_on_node_entry")
    if any(group.startswith("system:") for group in params.get("kubernetesGroups") or []):
        raise refuse("eks.system_group")
    return {"accessEntry": _make(session, cluster, params).row}


@operation("eks", "DescribeAccessEntry")
def describe_access_entry(session: Session, params: Params) -> Result:
    return {"accessEntry": _entry(session, params)[1].row}


@operation("eks", "ListAccessEntries")
def list_access_entries(session: Session, params: Params) -> Result:
    policy = params.get("associatedPolicyArn")
    entries = cluster_of(session, params).entries
    return {"accessEntries": [arn for arn, entry in entries.items() if not policy or policy in entry.policies]}


@operation("eks", "UpdateAccessEntry")
def update_access_entry(session: Session, params: Params) -> Result:
    __, entry = _entry(session, params)
    if entry.row["type"] != "STANDARD" and params.get("kubernetesGroups"):
        raise refuse("eks.groups_on_node_entry")
    for key in ("kubernetesGroups", "username"):
        if params.get(key) is not None:
            entry.row[key] = params[key]
    entry.row["modifiedAt"] = session.now()
    return {"accessEntry": entry.row}


@operation("eks", "DeleteAccessEntry")
def delete_access_entry(session: Session, params: Params) -> Result:
    cluster, entry = _entry(session, params)
    del cluster.entries[entry.row["principalArn"]]
    return {}


@operation("eks", "AssociateAccessPolicy")
def associate_access_policy(session: Session, params: Params) -> Result:
    cluster, entry = _entry(session, params)
    arn = params["policyArn"]
    if arn not in {POLICY.format(partition=session.partition, name=name) for name in POLICIES}:
        raise refuse("eks.no_access_policy", policy=arn)
    if entry.row["type"] != "STANDARD":
        raise refuse("eks.policy_on_node_entry")
    scope = params["accessScope"]
    entry.associate(arn, {"type": scope["type"], "namespaces": list(scope.get("namespaces") or [])}, session.now())
    return {
        "clusterName": cluster.name,
        "principalArn": entry.row["principalArn"],
        "associatedAccessPolicy": _association(entry, arn),
    }


@operation("eks", "DisassociateAccessPolicy")
def disassociate_access_policy(session: Session, params: Params) -> Result:
    __, entry = _entry(session, params)
    entry.associated.pop(params["policyArn"], None)
    if entry.policies.pop(params["policyArn"], None) is None:
        raise refuse("eks.policy_not_associated", policy=params["policyArn"])
    return {}


@operation("eks", "ListAssociatedAccessPolicies")
def list_associated_access_policies(session: Session, params: Params) -> Result:
    cluster, entry = _entry(session, params)
    return {
        "clusterName": cluster.name,
        "principalArn": entry.row["principalArn"],
        "associatedAccessPolicies": [_association(entry, arn) for arn in entry.policies],
    }


@operation("eks", "ListAccessPolicies")
def list_access_policies(session: Session, params: Params) -> Result:
    return {
        "accessPolicies": [
            {"name": name, "arn": POLICY.format(partition=session.partition, name=name)} for name in POLICIES
        ]
    }


def _association(entry: Entry, arn: str) -> Row:
    since, changed = entry.associated[arn]
    return {"policyArn": arn, "accessScope": entry.policies[arn], "associatedAt": since, "modifiedAt": changed}


@operation("eks", "TagResource")
def tag_resource(session: Session, params: Params) -> Result:
    tags_of(session, params["resourceArn"]).update(params["tags"])
    return {}


@operation("eks", "UntagResource")
def untag_resource(session: Session, params: Params) -> Result:
    tags = tags_of(session, params["resourceArn"])
    for key in params["tagKeys"]:
        tags.pop(key, None)
    return {}


@operation("eks", "ListTagsForResource")
def list_tags_for_resource(session: Session, params: Params) -> Result:
    return {"tags": tags_of(session, params["resourceArn"])}
