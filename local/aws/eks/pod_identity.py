# SPDX-License-Identifier: Apache-2.0
"""What EKS's Pod Identity agent asks: a session of the role of a pod's service account, if the role's trust policy admits it.

https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from moto.sts.models import sts_backends

from .. import conditions, network
from ..errors import refuse
from ..pod_token import AUDIENCE, pod_of
from ..world import Params, Result, Session, operation
from .state import Cluster, Row, cluster_of

_ACTIONS = ("sts:AssumeRole", "sts:TagSession")
_LIFE_S = 21600


@operation("eks-auth", "AssumeRoleForPodIdentity")
def assume_role_for_pod_identity(session: Session, params: Params) -> Result:
    cluster = cluster_of(session, params)
    pod = pod_of(params["token"])
    if pod is None:
        raise refuse("eks_auth.token")
    namespace, account = pod["namespace"], pod["serviceaccount"]["name"]
    found = next((row for row in cluster.associations.values() if _is_of(row, namespace, account)), None)
    if found is None:
        raise refuse("eks_auth.no_association", namespace=namespace, account=account, cluster=cluster.name)
    role = next((role for role in network.iam(session).get_roles() if role.arn == found["roleArn"]), None)
    if role is None or not admits(_statements(role), session, _session_tags(session, cluster, found, pod)):
        raise refuse("eks_auth.not_admitted", arn=found["roleArn"])
    return _answer(session, cluster, found, role)


def admits(statements: Iterable[Mapping[str, Any]], session: Session, tags: Mapping[str, str]) -> bool:
    """Whether a trust policy lets Pod Identity assume the role with these session tags, and set them.

    https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html. The account of the cluster is in `aws:SourceAccount`:
    https://github.com/awslabs/mountpoint-s3-csi-driver/issues/781
    """
    context: dict[str, tuple[str, ...]] = {f"aws:RequestTag/{key}": (value,) for key, value in tags.items()}
    context |= {"aws:TagKeys": tuple(tags), "aws:SourceAccount": (session.account,)}
    context["aws:SourceArn"] = (tags.get("eks-cluster-arn", ""),)
    granted = [one for one in statements if _names_the_service(one) and conditions.hold(_conditions(one), context)]
    return all(any(_allows(one, action) for one in granted) for action in (_ACTIONS if tags else _ACTIONS[:1]))


def _conditions(statement: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = statement.get("Condition") or {}
    return found


def _names_the_service(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = conditions.list_of(principal.get("Service", [])) if isinstance(principal, dict) else []
    return statement["Effect"] == "Allow" and AUDIENCE in services


def _allows(statement: Mapping[str, Any], action: str) -> bool:
    return any(conditions.like(action, pattern) for pattern in conditions.list_of(statement["Action"]))


def _statements(role: Any) -> list[Mapping[str, Any]]:
    document = role.assume_role_policy_document
    found: list[Mapping[str, Any]] = conditions.list_of(
        (json.loads(document) if isinstance(document, str) else document)["Statement"]
    )
    return found


def _is_of(row: Row, namespace: str, account: str) -> bool:
    return (row["namespace"], row["serviceAccount"]) == (namespace, account)


def _session_tags(session: Session, cluster: Cluster, row: Row, pod: Mapping[str, Any]) -> dict[str, str]:
    if row.get("disableSessionTags"):
        return {}
    return {
        "eks-cluster-arn": session.arn("eks", f"cluster/{cluster.name}"),
        "eks-cluster-name": cluster.name,
        "kubernetes-namespace": row["namespace"],
        "kubernetes-service-account": row["serviceAccount"],
        "kubernetes-pod-name": pod.get("pod", {}).get("name", ""),
        "kubernetes-pod-uid": pod.get("pod", {}).get("uid", ""),
    }


def _answer(session: Session, cluster: Cluster, row: Row, role: Any) -> Result:
    name = f"eks-{cluster.name}-{row['serviceAccount']}"[:64]
    backend = sts_backends[session.account][session.partition]
    made = backend.assume_role(session.region, name, role.arn, None, _LIFE_S, None)
    return {
        "subject": {"namespace": row["namespace"], "serviceAccount": row["serviceAccount"]},
        "audience": AUDIENCE,
        "podIdentityAssociation": {key: row[key] for key in ("associationArn", "associationId")},
        "assumedRoleUser": {"arn": made.arn, "assumeRoleId": f"{role.id}:{name}"},
        "credentials": {
            "accessKeyId": made.access_key_id,
            "secretAccessKey": made.secret_access_key,
            "sessionToken": made.session_token,
            "expiration": made.expiration,
        },
    }
