# SPDX-License-Identifier: Apache-2.0
"""A bucket that asks for TLS is one that can be used: locks and records live in such a one."""

from __future__ import annotations

from .kinds import build


def test_a_bucket_that_asks_for_tls_takes_and_gives_objects(aws):
    build("s3_bucket", aws, {"name": "records"}).apply()
    s3 = aws.client("s3")
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket="records")["Policy"]
    s3.put_object(Bucket="records", Key="locks/demo.json", Body=b"{}", IfNoneMatch="*")
    assert s3.get_object(Bucket="records", Key="locks/demo.json")["Body"].read() == b"{}"
