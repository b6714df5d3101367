# SPDX-License-Identifier: Apache-2.0
"""What moto's S3 leaves out: tags that are given when a bucket is made."""

from __future__ import annotations

from moto.s3.models import s3_backends

from .world import Params, Result, Session, overlay


@overlay("s3", "CreateBucket")
def create_bucket(session: Session, params: Params, result: Result) -> Result:
    tags = (params.get("CreateBucketConfiguration") or {}).get("Tags") or []
    if tags:
        backend = s3_backends[session.account][session.partition]
        backend.put_bucket_tagging(params["Bucket"], {tag["Key"]: tag["Value"] for tag in tags})
    return result
