# SPDX-License-Identifier: Apache-2.0
"""A bucket that holds to signatures and IAM policies: moto, which checks both once it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import yaml
from moto import settings
from moto.core.responses import ActionAuthenticatorMixin
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
_SNAPSHOT = Path(__file__).resolve().parents[2] / "roles/models/tests/bucket.yml"


def described_policies() -> Mapping[str, object]:
    """What the sync Job's role may do for s3://my-models/llama-2-13b, as role models describes it."""
    described = yaml.safe_load(_SNAPSHOT.read_text())["descriptor"][0]["aws"]
    role = next(one for one in described if one["name"] == "role")
    policies: Mapping[str, object] = role["properties"]["inline_policies"]
    return policies


@contextmanager
def guarded_bucket(
    host: str, bucket: str, files: Mapping[str, bytes], policies: Mapping[str, object]
) -> Iterator[tuple[str, dict[str, str]]]:
    """(its URL, credentials of a session of a role with these inline policies) as the Pod Identity agent gives them."""
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    url = f"http://{host}:{server._server.server_port}"
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    try:
        given = {"endpoint_url": url, "region_name": REGION, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        s3, iam, sts = (boto3.client(name, **given) for name in ("s3", "iam", "sts"))
        s3.create_bucket(Bucket=bucket)
        for name, data in files.items():
            s3.put_object(Bucket=bucket, Key=name, Body=data)
        role = iam.create_role(RoleName="models-sync", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        for name, policy in policies.items():
            iam.put_role_policy(RoleName="models-sync", PolicyName=name, PolicyDocument=json.dumps(policy))
        found = sts.assume_role(RoleArn=role, RoleSessionName="eks-pod")["Credentials"]
        ActionAuthenticatorMixin.request_count, settings.INITIAL_NO_AUTH_ACTION_COUNT = 0, 0.0
        keys = {name: found[name] for name in ("AccessKeyId", "SecretAccessKey")}
        yield url, {**keys, "Token": found["SessionToken"], "AccountId": "123456789012"}
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before
        server.stop()
