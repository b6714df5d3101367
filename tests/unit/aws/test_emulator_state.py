# SPDX-License-Identifier: Apache-2.0
"""The emulator's state is on disk, takes time, and fails on demand."""

from __future__ import annotations

import json
import time

import pytest
from botocore.exceptions import ClientError

from local.aws.config import EmulatorConfig
from local.aws.errors import EmulatorError, recorded
from local.aws.listening import Address
from tests.support.emulated_aws import EmulatedAws, make_role, make_subnets

pytestmark = pytest.mark.programs


def everything(aws):
    """Answers that together show the account."""
    calls = [
        ("eks", "describe_cluster", {"name": "demo"}),
        ("eks", "describe_nodegroup", {"clusterName": "demo", "nodegroupName": "system"}),
        ("eks", "describe_addon", {"clusterName": "demo", "addonName": "coredns"}),
        ("eks", "list_pod_identity_associations", {"clusterName": "demo"}),
        ("efs", "describe_file_systems", {}),
        ("efs", "describe_access_points", {}),
        ("ec2", "describe_vpcs", {}),
        ("ec2", "describe_subnets", {}),
        ("ec2", "describe_security_groups", {}),
        ("ec2", "describe_network_interfaces", {}),
        ("iam", "list_roles", {}),
        ("sqs", "list_queues", {}),
        ("s3", "list_objects_v2", {"Bucket": "records"}),
        ("kms", "list_keys", {}),
        ("ecr", "describe_repositories", {}),
        ("events", "list_rules", {}),
    ]
    found = {}
    for service, operation, parameters in calls:
        answer = getattr(aws.client(service), operation)(**parameters)
        answer.pop("ResponseMetadata")
        found[f"{service} {operation}"] = json.loads(json.dumps(answer, default=str))
    return found


def populate(aws):
    vpc, subnets = make_subnets(aws)
    role = make_role(aws, "cluster")
    eks, efs = aws.client("eks"), aws.client("efs")
    eks.create_cluster(name="demo", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    eks.create_nodegroup(clusterName="demo", nodegroupName="system", subnets=subnets, nodeRole=role)
    eks.create_addon(clusterName="demo", addonName="coredns")
    eks.create_pod_identity_association(clusterName="demo", namespace="a", serviceAccount="b", roleArn=role)
    system = efs.create_file_system(CreationToken="models")["FileSystemId"]
    efs.describe_file_systems()
    efs.create_mount_target(FileSystemId=system, SubnetId=subnets[0])
    efs.create_access_point(ClientToken="models", FileSystemId=system)
    aws.client("sqs").create_queue(QueueName="demo")
    aws.client("s3").create_bucket(Bucket="records", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    aws.client("s3").put_object(Bucket="records", Key="lock", Body=b"mine")
    aws.client("kms").create_key()
    aws.client("ecr").create_repository(repositoryName="llm/gateway")
    aws.client("events").put_rule(Name="spot", EventPattern='{"source": ["aws.ec2"]}')
    return vpc, subnets


def test_after_kill_9_everything_is_there_again(tmp_path):
    aws = EmulatedAws("--state", str(tmp_path)).start()
    try:
        populate(aws)
        aws.admin("PUT", "endpoints/demo", {"endpoint": "https://198.18.0.2:6443", "ca": "PEM"})
        before = everything(aws)
        assert before["eks describe_cluster"]["cluster"]["endpoint"] == "https://198.18.0.2:6443"
        aws.kill()
        with (tmp_path / "journal.jsonl").open("ab") as journal:
            journal.write(b'{"at": 1, "seed')  # a line that a kill cut short
        aws.start()
        assert everything(aws) == before
        aws.client("s3").put_object(Bucket="records", Key="second", Body=b"2")
        aws.stop()
        aws.start()
        assert aws.client("s3").get_object(Bucket="records", Key="second")["Body"].read() == b"2"
    finally:
        aws.kill()


def test_a_journal_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "journal.jsonl").write_text("no json\n")
    with pytest.raises(AssertionError, match="did not start"):
        EmulatedAws("--state", str(tmp_path)).start()


def test_looks_and_refusals_leave_no_line_in_the_journal(tmp_path):
    aws = EmulatedAws("--state", str(tmp_path)).start()
    try:
        populate(aws)
        everything(aws)
        lines = (tmp_path / "journal.jsonl").read_text()
        everything(aws)
        with pytest.raises(ClientError):
            aws.client("ecr").create_repository(repositoryName="llm/gateway")
        with pytest.raises(ClientError):
            aws.client("eks").delete_cluster(name="demo")
        assert (tmp_path / "journal.jsonl").read_text() == lines
    finally:
        aws.kill()


def test_a_lock_that_each_run_takes_and_drops_does_not_make_the_journal_grow(tmp_path):
    aws = EmulatedAws("--state", str(tmp_path)).start()
    try:
        s3 = aws.client("s3")
        for bucket in ("records", "versions"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        for number in range(3):
            s3.put_object(Bucket="versions", Key="a", Body=str(number).encode())
        kept = s3.put_object(Bucket="records", Key="kept", Body=b"1", IfNoneMatch="*")["ETag"]
        kept = s3.put_object(Bucket="records", Key="kept", Body=b"2", IfMatch=kept)["ETag"]
        for __ in range(105):
            tag = s3.put_object(Bucket="records", Key="lock", Body=b"mine", IfNoneMatch="*")["ETag"]
            s3.delete_object(Bucket="records", Key="lock", IfMatch=tag)
        held = s3.put_object(Bucket="records", Key="lock", Body=b"held", IfNoneMatch="*")["ETag"]
        assert len((tmp_path / "journal.jsonl").read_text().splitlines()) < 50
        aws.kill()
        aws.start()
        s3 = aws.client("s3")
        found = {row["Key"]: row["ETag"] for row in s3.list_objects_v2(Bucket="records")["Contents"]}
        assert found == {"kept": kept, "lock": held}
        assert len(s3.list_object_versions(Bucket="versions")["Versions"]) == 3
    finally:
        aws.kill()


def test_states_take_their_time_and_survive_a_restart_half_way(tmp_path):
    aws = EmulatedAws("--state", str(tmp_path), "--delay", "cluster=3").start()
    try:
        __, subnets = make_subnets(aws)
        role = make_role(aws, "cluster")
        started = time.monotonic()
        aws.client("eks").create_cluster(name="slow", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
        assert aws.client("eks").describe_cluster(name="slow")["cluster"]["status"] == "CREATING"
        aws.kill()
        aws.start()
        while aws.client("eks").describe_cluster(name="slow")["cluster"]["status"] == "CREATING":
            assert time.monotonic() - started < 30
            time.sleep(0.1)
        assert time.monotonic() - started >= 3
    finally:
        aws.kill()


def test_throttling_of_each_call_once_is_ridden_out_by_a_client_that_tries_again(aws):
    aws.admin("POST", "faults", {"service": "ec2", "each": True})
    with pytest.raises(ClientError) as failure:
        aws.client("ec2").describe_vpcs()
    assert failure.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert aws.client("ec2").describe_vpcs()["Vpcs"]


@pytest.mark.parametrize("service", ["eks", "efs", "iam", "sts", "s3", "sqs", "events", "ecr", "kms", "logs"])
def test_a_throttled_call_says_so_in_the_form_of_its_protocol(aws, service):
    calls = {
        "eks": "list_clusters",
        "efs": "describe_file_systems",
        "iam": "list_roles",
        "sts": "get_caller_identity",
        "s3": "list_buckets",
        "sqs": "list_queues",
        "events": "list_rules",
        "ecr": "describe_repositories",
        "kms": "list_keys",
        "logs": "describe_log_groups",
    }
    aws.admin("POST", "faults", {"service": service, "count": 1})
    with pytest.raises(ClientError, match="Rate exceeded"):
        getattr(aws.client(service), calls[service])()
    getattr(aws.client(service), calls[service])()


def test_a_recorded_refusal_can_be_asked_for(aws):
    aws.admin(
        "POST", "faults", {"service": "eks", "operation": "ListClusters", "refusal": "eks.cluster_in_use", "count": 1}
    )
    with pytest.raises(ClientError) as failure:
        aws.client("eks").list_clusters()
    assert failure.value.response["Error"]["Code"] == "ResourceInUseException"


def test_every_recorded_refusal_has_a_source_and_belongs_to_its_operations():
    import boto3

    for refusal in recorded().values():
        # AWS's own words are found in its documentation, or in an issue of somebody who met them.
        assert refusal.source.startswith(("https://docs.aws.amazon.com/", "https://github.com/")), refusal.id
        model = boto3.client(refusal.service, region_name="us-west-2").meta.service_model
        for name in refusal.operations:
            operation = model.operation_model(name)
            codes = {shape.error_code for shape in operation.error_shapes} | {s.name for s in operation.error_shapes}
            # Any service may answer so: https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html
            codes |= {"AccessDeniedException"} if codes else set()
            if codes and refusal.service != "s3":  # S3's model names few of its errors; its error page has the rest
                assert refusal.code in codes, f"{refusal.id}: {name} is not documented to answer {refusal.code}"


@pytest.mark.parametrize(
    "build",
    [
        lambda: EmulatorConfig(delays={"clusters": 1}),
        lambda: EmulatorConfig(account="12"),
        lambda: Address.parse("4566"),
    ],
)
def test_bad_input_gets_a_sentence(build):
    with pytest.raises(EmulatorError, match="aws emulator:"):
        build()
