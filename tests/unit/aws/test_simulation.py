# SPDX-License-Identifier: Apache-2.0
"""Whose policies are asked, for which actions, and on what they are tried again."""

from __future__ import annotations

import json

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Identity
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.simulation import (
    denied,
    needed,
    principal,
    resource,
)
from tests.support.emulated_aws import make_role
from tests.unit.aws.kinds import connect

ACCOUNT = "123456789012"


def test_the_actions_of_a_policy_are_each_named_once():
    policy = {"Statement": [{"Effect": "Allow", "Action": one} for one in (["b:Y", "a:X"], "a:X")]}
    policy["Statement"].append({"Effect": "Deny", "Action": "c:Z"})
    assert needed(policy) == ["a:X", "b:Y"]


def test_a_session_of_a_role_leads_to_the_role_with_its_path(aws):
    iam = aws.client("iam")
    make_role(aws, "plain")
    document = iam.get_role(RoleName="plain")["Role"]["AssumeRolePolicyDocument"]
    made = iam.create_role(RoleName="deep", Path="/teams/ml/", AssumeRolePolicyDocument=json.dumps(document))["Role"]
    caller = Identity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/deep/me")
    assert principal(connect(aws), caller) == made["Arn"]
    assert made["Arn"].endswith(":role/teams/ml/deep")


def test_the_root_of_an_account_may_do_everything(aws):
    assert principal(connect(aws), Identity(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")) == ""


def test_a_caller_that_iam_knows_no_policies_of_is_refused(aws):
    with pytest.raises(AwsError, match="cannot simulate"):
        principal(connect(aws), Identity(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:federated-user/x"))


@pytest.mark.parametrize(
    ("action", "tail"),
    [
        ("eks:CreateCluster", ":cluster/demo"),
        ("iam:CreateRole", ":role/demo-node"),
        ("iam:PassRole", ":role/demo-node"),
        ("iam:CreatePolicy", ":policy/demo-node"),
        ("iam:AddRoleToInstanceProfile", ":instance-profile/demo-node"),
        ("iam:CreateOpenIDConnectProvider", "/0123456789ABCDEF0123456789ABCDEF"),
        ("iam:CreateServiceLinkedRole", ":role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"),
        ("iam:AttachRolePolicy", ":role/demo-node"),
        ("eks:DeleteNodegroup", ":nodegroup/demo/system/00000000-0000-0000-0000-000000000000"),
        ("kms:CreateAlias", ":alias/demo-secrets"),
        ("s3:PutObject", ":::demo/locks/demo"),
        ("s3:CreateBucket", ":::demo"),
        ("sqs:CreateQueue", ":demo"),
        ("ec2:CreateVpc", ""),
        ("eks:ListClusters", ""),
    ],
)
def test_an_action_is_tried_again_on_what_would_be_made(aws, action, tail):
    found = resource(action, connect(aws), "demo")
    assert found.endswith(tail) and bool(found) == bool(tail)


def test_many_actions_are_asked_in_parts(aws):
    aws.admin("DELETE", "calls")
    assert denied(connect(aws), [f"ec2:Describe{number}" for number in range(250)], "demo") == {}
    assert aws.admin("GET", "calls")["iam:SimulatePrincipalPolicy"] == 3
