# SPDX-License-Identifier: Apache-2.0
"""Pod identity associations: which IAM role a service account has."""

from __future__ import annotations

from .. import network
from ..errors import refuse
from ..world import Params, Result, Session, operation
from .state import Cluster, Row, cluster_of, without_none

_SUMMARY = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId", "ownerArn")


def associate(session: Session, cluster: Cluster, params: Params, owner_arn: str | None = None) -> Row:
    """A new association. Raises Refusal when the service account has one."""
    key = (params["namespace"], params["serviceAccount"])
    for row in cluster.associations.values():
        if (row["namespace"], row["serviceAccount"]) == key:
            raise refuse("eks.association_exists", id=row["associationId"])
    network.require_role(session, params["roleArn"], "CreatePodIdentityAssociation", "pods.eks")
    identifier = session.identifier("a-")
    row = without_none(
        {
            "clusterName": cluster.name,
            "namespace": key[0],
            "serviceAccount": key[1],
            "roleArn": params["roleArn"],
            "associationArn": session.arn("eks", f"podidentityassociation/{cluster.name}/{identifier}"),
            "associationId": identifier,
            "tags": dict(params.get("tags") or {}),
            "createdAt": session.now(),
            "modifiedAt": session.now(),
            "ownerArn": owner_arn,
            "disableSessionTags": bool(params.get("disableSessionTags")),
            "targetRoleArn": params.get("targetRoleArn"),
        }
    )
    cluster.associations[identifier] = row
    return row


def _association(session: Session, params: Params) -> tuple[Cluster, Row]:
    cluster = cluster_of(session, params)
    row = cluster.associations.get(params["associationId"])
    if row is None:
        raise refuse("eks.no_association", id=params["associationId"])
    return cluster, row


@operation("eks", "CreatePodIdentityAssociation")
def create_pod_identity_association(session: Session, params: Params) -> Result:
    return {"association": associate(session, cluster_of(session, params), params)}


@operation("eks", "DescribePodIdentityAssociation")
def describe_pod_identity_association(session: Session, params: Params) -> Result:
    return {"association": _association(session, params)[1]}


@operation("eks", "ListPodIdentityAssociations")
def list_pod_identity_associations(session: Session, params: Params) -> Result:
    rows = cluster_of(session, params).associations.values()
    for key in ("namespace", "serviceAccount"):
        if params.get(key):
            rows = [row for row in rows if row[key] == params[key]]  # type: ignore[assignment]
    return {"associations": [{key: row[key] for key in _SUMMARY if key in row} for row in rows]}


@operation("eks", "UpdatePodIdentityAssociation")
def update_pod_identity_association(session: Session, params: Params) -> Result:
    __, row = _association(session, params)
    if params.get("roleArn"):
        network.require_role(session, params["roleArn"], "UpdatePodIdentityAssociation", "pods.eks")
    for key in ("roleArn", "disableSessionTags", "targetRoleArn"):
        if params.get(key) is not None:
            row[key] = params[key]
    row["modifiedAt"] = session.now()
    return {"association": row}


@operation("eks", "DeletePodIdentityAssociation")
def delete_pod_identity_association(session: Session, params: Params) -> Result:
    cluster, row = _association(session, params)
    if row.get("ownerArn"):
        raise refuse("eks.association_owned", owner=row["ownerArn"])
    return {"association": cluster.associations.pop(row["associationId"])}
