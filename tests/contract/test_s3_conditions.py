# SPDX-License-Identifier: Apache-2.0
"""Conditional writes and deletions of S3, as boto3 sees them: what the lock of a whole account stands on."""

from __future__ import annotations

import threading

import pytest
from botocore.exceptions import ClientError

from tests.support.emulated_aws import REGION, EmulatedAws

BUCKET = "records"


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws() as emulated:
        emulated.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield emulated


@pytest.fixture
def s3(aws):
    client = aws.client("s3")
    client.delete_object(Bucket=BUCKET, Key="lock")
    return client


def put(s3, body=b"mine", **condition):
    return s3.put_object(Bucket=BUCKET, Key="lock", Body=body, **condition)["ETag"]


def refused(call):
    """Status and code of the refusal."""
    with pytest.raises(ClientError) as failure:
        call()
    answer = failure.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_if_none_match_makes_an_object_only_where_there_is_none(s3):
    put(s3, IfNoneMatch="*")
    assert refused(lambda: put(s3, b"theirs", IfNoneMatch="*")) == (412, "PreconditionFailed")
    assert s3.get_object(Bucket=BUCKET, Key="lock")["Body"].read() == b"mine"


def test_if_match_replaces_only_what_was_seen(s3):
    seen = put(s3)
    now = put(s3, b"renewed", IfMatch=seen)
    assert refused(lambda: put(s3, b"late", IfMatch=seen)) == (412, "PreconditionFailed")
    put(s3, b"again", IfMatch=now.strip('"'))


def test_if_match_on_nothing_is_not_found(s3):
    assert refused(lambda: put(s3, IfMatch='"0"')) == (404, "NoSuchKey")
    assert refused(lambda: s3.delete_object(Bucket=BUCKET, Key="lock", IfMatch='"0"')) == (404, "NoSuchKey")


def test_a_deletion_takes_only_what_was_seen(s3):
    old = put(s3)
    new = put(s3, b"theirs")
    assert refused(lambda: s3.delete_object(Bucket=BUCKET, Key="lock", IfMatch=old)) == (412, "PreconditionFailed")
    s3.delete_object(Bucket=BUCKET, Key="lock", IfMatch=new)
    put(s3, IfNoneMatch="*")
    s3.delete_object(Bucket=BUCKET, Key="lock", IfMatch="*")


def test_a_delete_marker_is_no_object(aws):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="versioned", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    tag = s3.put_object(Bucket="versioned", Key="lock", Body=b"1", IfNoneMatch="*")["ETag"]
    s3.delete_object(Bucket="versioned", Key="lock", IfMatch=tag)
    assert refused(lambda: s3.put_object(Bucket="versioned", Key="lock", Body=b"2", IfMatch=tag))[0] == 404
    s3.put_object(Bucket="versioned", Key="lock", Body=b"2", IfNoneMatch="*")


def test_a_condition_that_s3_does_not_have_is_refused(s3):
    assert refused(lambda: put(s3, IfNoneMatch='"abc"')) == (501, "NotImplemented")


def test_a_conflict_can_be_asked_for(aws, s3):
    aws.admin("POST", "faults", {"service": "s3", "operation": "PutObject", "refusal": "s3.conflict", "count": 1})
    assert refused(lambda: put(s3, IfNoneMatch="*")) == (409, "ConditionalRequestConflict")
    put(s3, IfNoneMatch="*")


def test_of_many_at_once_one_gets_it(aws):
    won = []

    def race(number):
        client = aws.client("s3", keys={"aws_access_key_id": f"r{number}", "aws_secret_access_key": "x"})
        try:
            client.put_object(Bucket=BUCKET, Key="race", Body=str(number).encode(), IfNoneMatch="*")
            won.append(number)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"

    racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert aws.client("s3").get_object(Bucket=BUCKET, Key="race")["Body"].read() == str(won[0]).encode()
