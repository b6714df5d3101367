# SPDX-License-Identifier: Apache-2.0
"""What moto's S3 lacks: tags that are given when a bucket is created, and conditions of writes and deletions.

Requests are handled one after the other here, so that there are never conflicts; tests use a fault to see how a client
handles `s3.conflict`.
"""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeDeleteMarker, s3_backends

from .errors import refuse
from .world import Params, Result, Session, guard, overlay

# moto ignores the conditions of these: it does not know `*`, and takes a delete marker for an object.
CONDITIONAL = {("s3", "PutObject"), ("s3", "DeleteObject")}
_CONDITIONS = {"if-match", "if-none-match"}


def without_conditions(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _CONDITIONS]


@overlay("s3", "CreateBucket")
def create_bucket(session: Session, params: Params, result: Result) -> Result:
    tags = (params.get("CreateBucketConfiguration") or {}).get("Tags") or []
    if tags:
        _backend(session).put_bucket_tagging(params["Bucket"], {tag["Key"]: tag["Value"] for tag in tags})
    return result


@guard("s3", "PutObject")
def put_object(session: Session, params: Params) -> None:
    unless = params.get("IfNoneMatch")
    if unless not in (None, "*"):
        raise refuse("s3.header_not_implemented")
    if unless and _current(session, params) is not None:
        raise refuse("s3.precondition")
    _refuse_changed(session, params)


@guard("s3", "DeleteObject")
def delete_object(session: Session, params: Params) -> None:
    _refuse_changed(session, params)


def _refuse_changed(session: Session, params: Params) -> None:
    """IfMatch: the current object must exist, and be the one that was read."""
    wanted = params.get("IfMatch")
    if not wanted:
        return
    current = _current(session, params)
    if current is None:
        raise refuse("s3.no_key")
    if wanted != "*" and wanted.strip('"') != current.etag.strip('"'):
        raise refuse("s3.precondition")


def _backend(session: Session) -> Any:
    return s3_backends[session.account][session.partition]


def _current(session: Session, params: Params) -> Any:
    """The object's current version, or None: a delete marker is no object."""
    bucket = _backend(session).get_bucket(params["Bucket"])
    found = bucket.keys.get(params["Key"])
    return None if isinstance(found, FakeDeleteMarker) else found


def _permission(bucket: Any, action: str, resource: str) -> PermissionResult:
    """Bucket policies are stored and not enforced, like IAM's.

    moto would deny whatever a condition does not mention, and so everything in a bucket that only requires TLS.
    """
    return PermissionResult.NEUTRAL


FakeBucket.get_permission = _permission
