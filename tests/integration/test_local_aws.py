# SPDX-License-Identifier: Apache-2.0
"""The emulated AWS account beside a local cluster: it names the cluster's API server, and outlives its own end."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.token import token
from local.aws.pod_token import token_of
from local.kubernetes.cluster import Cluster
from local.kubernetes.config import AwsConfig, ClusterConfig
from local.kubernetes.errors import LocalClusterError
from tests.support.cluster_names import cluster_name
from tests.support.emulated_aws import trust

pytestmark = pytest.mark.apiserver
NAME = cluster_name("local")
CONFIG = ClusterConfig(name=NAME, node=False, aws=AwsConfig(region="eu-central-1", pace=0.002))


@pytest.fixture(scope="module")
def running():
    """(cluster, its status) with an EKS cluster of its name in the account, whose administrator we are."""
    cluster = Cluster(CONFIG)
    cluster.down()
    cluster.up()
    try:
        status = cluster.status()
        aws = connection(status)
        zones = ("eu-central-1a", "eu-central-1b")
        vpc = aws.client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            aws.client("ec2").create_subnet(VpcId=vpc, CidrBlock=f"10.1.{number}.0/24", AvailabilityZone=zone)
            for number, zone in enumerate(zones)
        ]
        role = aws.client("iam").create_role(RoleName="cluster", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))
        params = {
            "name": NAME,
            "role_arn": role["Role"]["Arn"],
            "subnet_ids": [row["Subnet"]["SubnetId"] for row in subnets],
        }
        made = RESOURCES["eks_cluster"](aws, params)
        made.apply()
        made.wait()
        entry = {"cluster": NAME, "principal_arn": aws.identity.arn}
        RESOURCES["eks_access_entry"](aws, {**entry, "policies": [{"policy": "AmazonEKSClusterAdminPolicy"}]}).apply()
        yield cluster, status
    finally:
        cluster.down()


def connection(status):
    return Connection.open(
        status.aws_region, credentials_file=status.aws_credentials_file, endpoint_url=status.aws_endpoint_url
    )


def ask(described, bearer, path="/api/v1/namespaces"):
    """Status of a GET at the API server that describe_cluster names."""
    request = urllib.request.Request(described["endpoint"] + path, headers={"Authorization": f"Bearer {bearer}"})
    authority = base64.b64decode(described["certificateAuthority"]["data"]).decode()
    try:
        context = ssl.create_default_context(cadata=authority)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the CA is like EKS's: without key identifiers
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def emulator_pids():
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"local.aws" in words and f"--state={CONFIG.state}/aws".encode() in words:
            found.append(int(process.parent.name))
    return found


def account(status):
    """What the account answers, to be compared."""
    aws = connection(status)
    said = [
        aws.client("eks").describe_cluster(name=NAME)["cluster"],
        aws.client("eks").list_access_entries(clusterName=NAME)["accessEntries"],
        aws.client("ec2").describe_subnets()["Subnets"],
        aws.client("iam").list_roles()["Roles"],
    ]
    return json.loads(json.dumps(said, default=str))


def test_the_cluster_of_the_account_is_the_real_one_and_takes_its_token(running):
    __, status = running
    aws = connection(status)
    described = aws.client("eks").describe_cluster(name=NAME)["cluster"]
    assert described["endpoint"] == CONFIG.api_url
    assert ask(described, token(aws, NAME)) == 200


def test_the_address_answers_on_this_machines_loopback(running):
    __, status = running
    assert status.aws_endpoint_url == f"http://127.0.0.1:{CONFIG.aws_port}"
    assert status.aws_region == "eu-central-1"


def test_a_second_up_changes_nothing(running):
    assert running[0].up() is False


def test_after_kill_9_of_the_emulator_alone_everything_is_there_again(running):
    cluster, status = running
    before = account(status)
    (pid,) = emulator_pids()
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 60
    while not cluster.status().ready or emulator_pids() in ([], [pid]):
        assert time.monotonic() < end, "the emulator did not come back"
        time.sleep(0.1)
    assert account(status) == before
    aws = connection(status)
    assert ask(aws.client("eks").describe_cluster(name=NAME)["cluster"], token(aws, NAME)) == 200
    assert cluster.up() is False


def test_the_users_own_aws_settings_are_neither_used_nor_sent(running, monkeypatch, tmp_path):
    __, status = running
    config = tmp_path / "config"
    config.write_text("[profile work]\nrole_arn = arn:aws:iam::999999999999:role/x\nsource_profile = none\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAREAL",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_SESSION_TOKEN": "real",
        "AWS_PROFILE": "work",
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    found = connection(status)
    assert found.identity.account == "123456789012"
    assert found.client("eks").list_clusters()["clusters"] == [NAME]
    assert found.client("eks")._request_signer._credentials.access_key == "local"


def test_the_keys_are_for_their_owner_alone(running):
    file = Path(running[1].aws_credentials_file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    secret = file.read_text().split("aws_secret_access_key = ")[1].split()[0]
    assert len(secret) >= 32
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in process.read_bytes()
        except OSError:
            continue


def stranger(status, service):
    """Whoever reaches the port and knows no key."""
    return boto3.client(
        service,
        endpoint_url=status.aws_endpoint_url,
        region_name=status.aws_region,
        aws_access_key_id="local",
        aws_secret_access_key="guessed",
    )


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("eks", "create_access_entry", {"clusterName": NAME, "principalArn": "arn:aws:iam::123456789012:root"}),
        ("iam", "create_access_key", {"UserName": "anna"}),
        ("sts", "assume_role", {"RoleArn": "arn:aws:iam::123456789012:role/cluster", "RoleSessionName": "anna"}),
        (
            "eks-auth",
            "assume_role_for_pod_identity",
            {"clusterName": NAME, "token": token_of("kube-system", "karpenter")},
        ),
    ],
)
def test_what_gives_rights_on_the_cluster_must_be_signed_with_the_own_key(running, service, operation, parameters):
    with pytest.raises(ClientError, match="must be signed with the emulator's own key"):
        getattr(stranger(running[1], service), operation)(**parameters)


def test_any_key_reads_the_account_but_signs_no_token(running):
    __, status = running
    described = stranger(status, "eks").describe_cluster(name=NAME)["cluster"]
    sts = stranger(status, "sts")
    forged = token(Connection(lambda service: sts, status.aws_region), NAME)
    assert ask(described, forged) == 401


def test_nobody_else_tells_the_emulator_where_the_api_server_is(running):
    request = urllib.request.Request(
        f"{running[1].aws_endpoint_url}/_emulator/endpoints/{NAME}", method="PUT", data=b'{"endpoint": "https://evil"}'
    )
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(request, timeout=10)
    assert failure.value.code == 403


@pytest.mark.parametrize(
    "given", [{"region": "Frankfurt"}, {"port": 70000}, {"pace": -1.0}, {"delays": {"clusters": 1.0}}]
)
def test_bad_input_names_its_variable(given):
    with pytest.raises(LocalClusterError, match="local_cluster_aws_"):
        AwsConfig(**given)
