# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may assume the IAM role of a service account."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pod_trust
short_description: The trust policy of a service account's IAM role
description: >-
  By EKS Pod Identity the role trusts the service for this service account of this cluster, by the tags of the session. By IRSA it trusts
  tokens of the cluster's issuer that name the service account; the issuer is the identity provider that role C(identity) describes.
options:
  _input:
    description: The service account, V(kube-system/karpenter) for instance.
    type: str
    required: true
  variant:
    description: The way pods get their roles, as in C(identity_variant).
    type: str
    choices: [pod_identity, seed]
    required: true
  cluster:
    description: Name of the EKS cluster.
    type: str
    required: true
  region:
    description: Its region.
    type: str
    required: true
"""
EXAMPLES = r"""
trust_policy: "{{ 'kube-system/karpenter' | llm.on_eks.pod_trust(identity_variant, 'llm-dev', 'eu-central-1') }}"
"""
RETURN = r"""
_value:
  description: The policy document.
  type: dict
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.filter.aws_partition import aws_partition

ISSUER_ARN = "${out:identity.issuer_arn}"
ISSUER_HOST = "${out:identity.issuer_host}"


def pod_trust(account: str, variant: str, cluster: str, region: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html, .../associate-service-account-role.html

    The tags are those of .../pod-id-abac.html. Only clusters of the role's own account can have it: EKS asks for iam:PassRole.
    """
    namespace, __, name = account.partition("/")
    if variant == "pod_identity":
        here = f"arn:{aws_partition(region)}:eks:{region}:*:cluster/{cluster}"
        of_pod = {"kubernetes-namespace": namespace, "kubernetes-service-account": name}
        statement: dict[str, Any] = {
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {f"aws:RequestTag/{key}": value for key, value in of_pod.items()},
                "StringLike": {"aws:RequestTag/eks-cluster-arn": here},
            },
        }
    else:
        subject = f"system:serviceaccount:{namespace}:{name}"
        statement = {
            "Principal": {"Federated": ISSUER_ARN},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{ISSUER_HOST}:aud": "sts.amazonaws.com", f"{ISSUER_HOST}:sub": subject}},
        }
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"pod_trust": pod_trust}
