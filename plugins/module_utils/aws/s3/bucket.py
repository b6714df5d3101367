# SPDX-License-Identifier: Apache-2.0
"""S3 buckets. https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import flag, text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

_PUBLIC = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# Error codes for settings that were never made.
_UNSET = {
    "NoSuchTagSet",
    "NoSuchBucketPolicy",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchLifecycleConfiguration",
    "ServerSideEncryptionConfigurationNotFoundError",
}


class S3Bucket(AwsResource):
    """A private, encrypted bucket with TLS-only access."""

    kind = "s3_bucket"
    stands_on = ("kms_key",)
    carries_traffic = False
    holds = "the objects in it"
    tagging = Tagging("Bucket", "name", "put_bucket_tagging", tags="Tagging", whole=True)
    passing = {}
    service, noun = "s3", "S3 bucket"
    not_found = ("404", "NoSuchBucket", "NotFound")
    produces = ("name", "arn")
    rules = Rules(documents=("policy",))
    arguments = {
        "name": text(required=True),
        "versioning": flag(True),
        "kms_key_arn": text(),
        "tls_only": flag(True),
        "old_versions_days": {"type": "int"},
        "force_destroy": flag(False),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(name: str) -> Any:
            return looker.call("s3", "get_bucket_tagging", Bucket=name)["TagSet"]

        names = [row["Name"] for row in looker.list("s3", "list_buckets", "Buckets")]
        for name, tags in looker.with_tags(names, tags_of):
            # A bucket's price depends on its objects: only a listing of all of them would tell.
            yield looker.item(cls.kind, name, tags, name=name, price_per_hour=None)

    @property
    def where(self) -> dict[str, str]:
        return {"Bucket": self.params["name"]}

    def read(self) -> State:
        self.call("head_bucket", **self.where)
        public = self._get("get_public_access_block").get("PublicAccessBlockConfiguration", {})
        rules = self._get("get_bucket_encryption").get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
        return {
            "name": self.params["name"],
            "versioning": self._get("get_bucket_versioning").get("Status") == "Enabled",
            "public_access_blocked": all(public.get(name) for name in _PUBLIC),
            "encryption": default.get("SSEAlgorithm"),
            "kms_key": default.get("KMSMasterKeyID"),
            "policy": self._get("get_bucket_policy").get("Policy"),
            "old_versions_days": self._old_versions_days(),
            "tags": self._get("get_bucket_tagging").get("TagSet", []),
        }

    def _old_versions_days(self) -> int | None:
        """For how long versions are kept that were overwritten or deleted; None: for ever."""
        if self.params["old_versions_days"] is None:
            return None
        rules = self._get("get_bucket_lifecycle_configuration").get("Rules", [])
        found = [(rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays") for rule in rules]
        return next((int(days) for days in found if days), None)

    def _get(self, operation: str) -> dict[str, Any]:
        try:
            return self.call(operation, **self.where)
        except AwsError as error:
            if error.code not in _UNSET:
                raise
            return {}

    def desired(self, current: State | None) -> State:
        p = self.params
        arn = f"arn:{self.connection.identity.partition}:s3:::{p['name']}"
        return {
            "versioning": p["versioning"],
            "public_access_blocked": True,
            "encryption": "aws:kms" if p["kms_key_arn"] else "AES256",
            "kms_key": p["kms_key_arn"],
            "policy": json.dumps(_tls_policy(arn), sort_keys=True) if p["tls_only"] else None,
            "old_versions_days": p["old_versions_days"],
        }

    def create(self, desired: State) -> None:
        region = self.connection.region
        # us-east-1 is the one region that must not be named here.
        place: State = {} if region == "us-east-1" else {"LocationConstraint": region}
        # Created with its tags: the next run would not recognise an unmarked bucket as ours.
        place |= {"Tags": tag_list(self.tags)} if self.tags else {}
        where: State = {**self.where, "CreateBucketConfiguration": place} if place else {**self.where}
        self.call("create_bucket", **where)
        self.update(desired, {})

    def update(self, changed: State, current: State) -> None:
        if "public_access_blocked" in changed:
            block = dict.fromkeys(_PUBLIC, True)
            self.call("put_public_access_block", **self.where, PublicAccessBlockConfiguration=block)
        if "versioning" in changed:
            status = "Enabled" if changed["versioning"] else "Suspended"
            self.call("put_bucket_versioning", **self.where, VersioningConfiguration={"Status": status})
        if {"encryption", "kms_key"} & set(changed):
            key = self.params["kms_key_arn"]
            default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
            rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(key)}
            self.call("put_bucket_encryption", **self.where, ServerSideEncryptionConfiguration={"Rules": [rule]})
        if "old_versions_days" in changed:
            rules = {"Rules": [_old_versions(changed["old_versions_days"])]}
            self.call("put_bucket_lifecycle_configuration", **self.where, LifecycleConfiguration=rules)
        if "policy" in changed:
            self.call("put_bucket_policy", **self.where, Policy=changed["policy"])

    def remove(self, current: State) -> None:
        if self.params["force_destroy"]:
            self._empty()
        self.call("delete_bucket", **self.where)

    def _empty(self) -> None:
        answer = self.connection.pages("s3", "list_object_versions", **self.where)
        rows = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
        keys = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        for start in range(0, len(keys), 1000):  # as many as one call accepts
            self.call("delete_objects", **self.where, Delete={"Objects": keys[start : start + 1000], "Quiet": True})

    def made(self, current: State) -> State:
        return {
            "name": self.params["name"],
            "arn": f"arn:{self.connection.identity.partition}:s3:::{self.params['name']}",
        }


def _old_versions(days: int) -> dict[str, Any]:
    """A lock is written anew every few seconds, and each version would be kept and paid for."""
    return {
        "ID": "old-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }


def _tls_policy(arn: str) -> dict[str, Any]:
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
