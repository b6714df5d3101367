# SPDX-License-Identifier: Apache-2.0
"""IAM's limits on policies: the emulator holds to them, and the classes name them before anything is made."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from tests.support.emulated_aws import ANY, make_role, trust

from .kinds import build


def document(characters):
    """A policy of so many characters, and as much white space again."""
    text = json.dumps({"Version": "2012-10-17", "Statement": []}, separators=(",", ":"))
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ""}
    room = characters - len(text) - len(json.dumps(statement, separators=(",", ":")))
    statement["Resource"] = "arn:aws:s3:::" + "x" * (room - len("arn:aws:s3:::"))
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=characters // 4)


@pytest.mark.parametrize(
    ("operation", "most", "given"),
    [
        ("create_policy", 6144, {"PolicyName": "{name}"}),
        ("put_role_policy", 10240, {"RoleName": "limits", "PolicyName": "{name}"}),
    ],
)
def test_a_policy_has_no_more_characters_than_iam_takes(aws, operation, most, given):
    iam = aws.client("iam")
    if operation == "put_role_policy":
        make_role(aws, "limits")
    for size, taken in ((most, True), (most + 1, False)):
        named = {key: value.format(name=f"of-{size}") for key, value in given.items()}
        if taken:
            getattr(iam, operation)(**named, PolicyDocument=document(size))
        else:
            with pytest.raises(ClientError, match="LimitExceeded"):
                getattr(iam, operation)(**named, PolicyDocument=document(size))


def test_a_role_has_ten_managed_policies(aws):
    iam = aws.client("iam")
    make_role(aws, "crowded")
    arns = [
        iam.create_policy(PolicyName=f"one-of-{number}", PolicyDocument=document(200))["Policy"]["Arn"]
        for number in range(11)
    ]
    for arn in arns[:10]:
        iam.attach_role_policy(RoleName="crowded", PolicyArn=arn)
    with pytest.raises(ClientError, match="PoliciesPerRole: 10"):
        iam.attach_role_policy(RoleName="crowded", PolicyArn=arns[10])


def test_a_trust_policy_has_no_more_than_2048_characters(aws):
    with pytest.raises(ClientError, match="ACLSizePerRole: 2048"):
        aws.client("iam").create_role(
            RoleName="trusting", AssumeRolePolicyDocument=trust(*ANY, *(f"s{n}.amazonaws.com" for n in range(150)))
        )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inline_policies": {"a": json.loads(document(6000)), "b": json.loads(document(5000))}}, "IAM takes 10240"),
        ({"services": [f"s{number}.amazonaws.com" for number in range(150)]}, "IAM takes 2048"),
    ],
)
def test_a_role_that_iam_would_not_take_is_refused_in_the_plan(aws, given, said):
    with pytest.raises(AwsError, match=said):
        build("iam_role", aws, {"name": "too-much", "services": list(ANY), **given}).plan()
