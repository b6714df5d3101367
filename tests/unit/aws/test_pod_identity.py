# SPDX-License-Identifier: Apache-2.0
"""A pod gets the session of its service account's role, and another one does not: the conditions of the roles' trust policies."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from ansible_collections.llm.on_eks.plugins.filter.pod_trust import pod_trust
from local.aws.conditions import UnknownOperator, hold
from local.aws.pod_token import token_of
from tests.support.emulated_aws import REGION, make_role, make_subnets, trust

POD = ("llm-engines", "engine")


@pytest.fixture(scope="module")
def cluster(account):
    """Its name."""
    __, subnets = make_subnets(account)
    given = {"roleArn": make_role(account, "cluster"), "resourcesVpcConfig": {"subnetIds": subnets}}
    for name in ("pods", "others"):
        account.client("eks").create_cluster(name=name, **given)
    return "pods"


def role_for(aws, name, document):
    return aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]


def associate(aws, cluster, namespace, account, role, **more):
    given = {"clusterName": cluster, "namespace": namespace, "serviceAccount": account, "roleArn": role, **more}
    return aws.client("eks").create_pod_identity_association(**given)["association"]


def ask(aws, cluster, namespace, account):
    """Who the pod is then."""
    auth = aws.client("eks-auth")
    found = auth.assume_role_for_pod_identity(clusterName=cluster, token=token_of(namespace, account))
    keys = {"aws_access_key_id": "accessKeyId", "aws_secret_access_key": "secretAccessKey"}
    keys |= {"aws_session_token": "sessionToken"}
    given = {name: found["credentials"][member] for name, member in keys.items()}
    return aws.client("sts", keys=given).get_caller_identity()["Arn"]


def test_a_pod_gets_the_role_of_its_service_account(aws, cluster):
    associate(aws, cluster, *POD, role_for(aws, "engine", pod_trust("/".join(POD), "pod_identity", cluster, REGION)))
    assert ":assumed-role/engine/" in ask(aws, cluster, *POD)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        ask(aws, cluster, "llm-engines", "default")


@pytest.mark.parametrize(
    ("name", "where", "pod"),
    [
        ("of-others", "others", POD),
        ("elsewhere", "pods", ("default", "engine")),
        ("another", "pods", ("llm-engines", "another")),
    ],
)
def test_whoever_may_make_associations_gets_the_role_for_no_other_pod(aws, cluster, name, where, pod):
    """EKS takes the association, and refuses the session."""
    role = role_for(aws, name, pod_trust("/".join(POD), "pod_identity", cluster, REGION))
    associate(aws, where, *pod, role)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ask(aws, where, *pod)


def test_without_session_tags_conditions_on_them_do_not_hold(aws, cluster):
    pod = ("plain", "engine")
    role = role_for(aws, "untagged", pod_trust("/".join(pod), "pod_identity", cluster, REGION))
    associate(aws, cluster, *pod, role, disableSessionTags=True)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ask(aws, cluster, *pod)


def test_a_role_that_does_not_let_sessions_be_tagged_is_refused(aws, cluster):
    document = json.loads(trust("pods.eks.amazonaws.com"))
    associate(aws, cluster, "tags", "engine", role_for(aws, "no-tags", document))
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ask(aws, cluster, "tags", "engine")


def test_the_source_is_the_cluster_and_not_the_association(aws, cluster):
    """https://github.com/awslabs/mountpoint-s3-csi-driver/issues/781"""
    for name, condition, taken in (
        ("source-account", {"StringEquals": {"aws:SourceAccount": "123456789012"}}, True),
        ("source-other", {"StringEquals": {"aws:SourceAccount": "111111111111"}}, False),
        ("source-pod", {"ArnLike": {"aws:SourceArn": f"arn:aws:eks:*:*:podidentityassociation/{cluster}/*"}}, False),
    ):
        document = json.loads(trust("pods.eks.amazonaws.com"))
        document["Statement"][0] |= {"Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": condition}
        associate(aws, cluster, "sources", name, role_for(aws, name, document))
        if taken:
            assert f":assumed-role/{name}/" in ask(aws, cluster, "sources", name)
        else:
            with pytest.raises(ClientError, match="AccessDeniedException"):
                ask(aws, cluster, "sources", name)


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"StringEquals": {"AWS:requesttag/team": ["ml", "infra"]}}, True),
        ({"StringNotEquals": {"aws:RequestTag/team": "ml"}}, False),
        ({"StringEquals": {"aws:RequestTag/other": "ml"}}, False),
        ({"StringEqualsIfExists": {"aws:RequestTag/other": "ml"}}, True),
        ({"StringNotLike": {"aws:RequestTag/other": "*"}}, True),
        ({"StringLike": {"aws:RequestTag/team": "m?"}}, True),
        ({"Null": {"aws:RequestTag/team": False}}, True),
        ({"Null": {"aws:RequestTag/team": "true"}}, False),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "Name"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["team", "Name"]}}, True),
        ({"StringLike": {"aws:RequestTag/team": "m*"}, "Bool": {"aws:SecureTransport": "false"}}, False),
    ],
)
def test_conditions_hold_as_iam_says(conditions, holds):
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html"""
    context = {"aws:RequestTag/team": ("ml",), "aws:TagKeys": ("team", "x"), "aws:SecureTransport": ("true",)}
    assert hold(conditions, context) == holds


def test_a_condition_that_nobody_knows_is_not_passed_over():
    with pytest.raises(UnknownOperator):
        hold({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, {})
