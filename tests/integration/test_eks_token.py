# SPDX-License-Identifier: Apache-2.0
"""The way of EKS authentication, whole: a presigned token, a real API server's webhook, access entries, RBAC."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request

import boto3
import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.token import TokenSource, token
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.emulated_aws import KEYS, REGION, make_role, make_subnets, trust

pytestmark = pytest.mark.apiserver
NAME = CONTROL_PLANE


def connection(aws, keys=KEYS, session_token=None):  # pylint: disable=dangerous-default-value
    session = boto3.session.Session(region_name=REGION, aws_session_token=session_token, **keys)
    return Connection(lambda service: session.client(service, endpoint_url=aws.url), REGION)


@pytest.fixture(scope="module")
def cluster(aws):
    """(emulated account, API server's URL and CA) with a cluster NAME that stands for the API server."""
    url, authority = aws.real_cluster["endpoint"], aws.real_cluster["ca"]
    __, subnets = make_subnets(aws)
    params = {"name": NAME, "role_arn": make_role(aws, "cluster"), "subnet_ids": subnets}
    made = RESOURCES["eks_cluster"](connection(aws), params)
    made.apply()
    made.wait()
    assert made.outputs()["endpoint"] == url
    return aws, url, authority


def entry(aws, **params):
    resource = RESOURCES["eks_access_entry"](connection(aws), {"cluster": NAME, **params})
    resource.apply()
    return resource


def ask(cluster, bearer, path):
    """Status and document of a GET."""
    __, url, authority = cluster
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {bearer}"})
    try:
        context = ssl.create_default_context(cadata=authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the CA is like EKS's: without key identifiers
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def admin(cluster):
    """An administrator's token source, by an access entry."""
    aws = cluster[0]
    caller = connection(aws).identity.arn
    made = entry(aws, principal_arn=caller, policies=[{"policy": "AmazonEKSClusterAdminPolicy"}])
    yield TokenSource(connection(aws), NAME)
    made.delete()


def test_a_token_of_an_administrator_is_admitted(cluster, admin):
    status, namespaces = ask(cluster, admin(), "/api/v1/namespaces")
    assert status == 200 and "kube-system" in {row["metadata"]["name"] for row in namespaces["items"]}


def test_the_same_token_is_used_until_it_is_old(admin):
    assert admin() == admin()


def test_a_caller_without_an_access_entry_is_not_admitted(cluster):
    # Another second, another token: of one that it has seen, the API server remembers what it said.
    time.sleep(1.1)
    assert ask(cluster, token(connection(cluster[0]), NAME), "/api/v1/namespaces")[0] == 401


def test_a_token_for_another_cluster_is_not_admitted(cluster, admin):
    assert ask(cluster, token(connection(cluster[0]), "elsewhere"), "/api/v1/namespaces")[0] == 401


def test_a_token_that_was_tampered_with_is_not_admitted(cluster, admin):
    bearer = admin()
    assert ask(cluster, bearer[:-8] + ("A" * 8), "/api/v1/namespaces")[0] == 401


def test_a_token_signed_with_another_secret_is_not_admitted(cluster, admin):
    forged = connection(cluster[0], {**KEYS, "aws_secret_access_key": "guessed"})
    assert ask(cluster, token(forged, NAME), "/api/v1/namespaces")[0] == 401


def test_a_role_session_is_mapped_to_the_roles_entry_and_its_groups(cluster):
    aws = cluster[0]
    iam, sts = aws.client("iam"), aws.client("sts")
    role = iam.create_role(RoleName="viewer", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"))["Role"]["Arn"]
    given = sts.assume_role(RoleArn=role, RoleSessionName="anna")["Credentials"]
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    session = connection(aws, keys, given["SessionToken"])
    # The session's own ARN stands for its role.
    assert entry(aws, principal_arn=session.identity.arn, groups=["viewers"]).params["principal_arn"] == role
    status, said = ask(cluster, token(session, NAME), "/api/v1/namespaces")
    assert status == 403, "known, but without rights"
    assert "assumed-role/viewer/anna" in said["message"]
