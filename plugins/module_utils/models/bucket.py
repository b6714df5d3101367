# SPDX-License-Identifier: Apache-2.0
"""A prefix in S3, or in a store that speaks its protocol.

Requests are signed here (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html): the image of the
Job stays the standard library. Credentials are those of Pod Identity or of the environment; where botocore is there, of its chain.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import os
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from .errors import AccessError, MissingError, ServerError, SyncError
from .http import Client
from .listing import Address, Listing, RemoteFile

_SERVICE = "s3"
_UNSIGNED = "UNSIGNED-PAYLOAD"
# Renewed this long before they expire.
_MARGIN = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class Credentials:
    """`ends`: when they expire; None: never."""

    key_id: str
    secret: str
    token: str = ""
    ends: datetime.datetime | None = None


class Bucket:
    """`endpoint`: of a store that is not AWS's, otherwise empty. `credentials`: called again when they expire."""

    def __init__(
        self,
        client: Client,
        name: str,
        region: str,
        endpoint: str = "",
        credentials: Callable[[], Credentials] | None = None,
    ) -> None:
        self._client, self.name, self.region = client, name, region or "us-east-1"
        if endpoint:
            self._base = f"{endpoint.rstrip('/')}/{name}"
        elif "." in name:  # a dot would not match AWS's certificate
            self._base = f"https://s3.{self.region}.amazonaws.com/{name}"
        else:
            self._base = f"https://{name}.s3.{self.region}.amazonaws.com"
        self._ask = credentials or (lambda: find_credentials(client))
        self._held: Credentials | None = None
        self._lock = threading.Lock()

    def list(self, prefix: str) -> Listing:
        """Every object below the prefix, with names relative to it; or the one object of this name. MissingError for none."""
        start = f"{prefix}/" if prefix else ""
        files: list[RemoteFile] = []
        query = {"list-type": "2", "prefix": start}
        while True:
            page = ElementTree.fromstring(self._get("", query))  # noqa: S314 - S3's own answer; expat refuses entity bombs
            space = page.tag.rpartition("}")[0] + "}" if page.tag.startswith("{") else ""
            for entry in page.iter(f"{space}Contents"):
                key, size = entry.findtext(f"{space}Key", ""), int(entry.findtext(f"{space}Size", "0"))
                if not key.endswith("/"):
                    files.append(RemoteFile(key[len(start) :], size, self._address(key)))
            more = page.findtext(f"{space}NextContinuationToken")
            if not more:
                break
            query = {**query, "continuation-token": more}
        return Listing(tuple(files) or (self._object(prefix),))

    def _object(self, key: str) -> RemoteFile:
        url = self._url(key)
        try:
            if not key:
                raise MissingError("the bucket is empty")
            found = self._client.head(url, sign("HEAD", url, {}, self._credentials(), self.region))
        except MissingError as problem:
            raise MissingError(f"s3://{self.name}/{key} holds nothing: is it the right prefix?") from problem  # pylint: disable=bad-exception-cause
        return RemoteFile(key.rpartition("/")[2], int(found.get("content-length", 0)), self._address(key))

    def sha256_of(self, file: RemoteFile) -> str:
        """The digest that S3 keeps of a whole object, hex; empty where it was uploaded without one, or in parts."""
        url, __ = file.address()
        headers = sign("HEAD", url, {"x-amz-checksum-mode": "ENABLED"}, self._credentials(), self.region)
        found = self._client.head(url, headers).get("x-amz-checksum-sha256", "")
        return base64.b64decode(found).hex() if found and "-" not in found else ""

    def _address(self, key: str) -> Address:
        url = self._url(key)
        return lambda: (url, sign("GET", url, {}, self._credentials(), self.region))

    def _url(self, key: str) -> str:
        return f"{self._base}/{urllib.parse.quote(key, safe='/-_.~')}"

    def _get(self, key: str, query: Mapping[str, str]) -> str:
        url = f"{self._url(key)}?{urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote)}"
        try:
            return self._client.text(url, lambda: sign("GET", url, {}, self._credentials(), self.region))[0]
        except AccessError as problem:
            raise AccessError(  # pylint: disable=bad-exception-cause
                f"s3://{self.name} may not be read: give the service account of the sync Job s3:GetObject and s3:ListBucket "
                f"by Pod Identity ({problem})"
            ) from problem

    def _credentials(self) -> Credentials:
        with self._lock:
            held = self._held
            if held is None or (held.ends and held.ends - _MARGIN < datetime.datetime.now(datetime.UTC)):
                held = self._held = self._ask()
            return held


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    credentials: Credentials,
    region: str,
    now: datetime.datetime | None = None,
) -> dict[str, str]:
    """The headers of a signed request (Signature Version 4, header form). A Range header may be added to it unsigned."""
    parts = urllib.parse.urlsplit(url)
    time = (now or datetime.datetime.now(datetime.UTC)).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": time}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    signed = {name.lower(): value.strip() for name, value in {**sent, "host": parts.netloc}.items()}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            parts.path or "/",
            parts.query,
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            _UNSIGNED,
        ]
    )
    scope = f"{time[:8]}/{region}/{_SERVICE}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (time[:8], region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def find_credentials(client: Client, environment: Mapping[str, str] | None = None) -> Credentials:
    """Credentials of the environment, of Pod Identity, or of botocore's chain. AccessError when there are none."""
    given = os.environ if environment is None else environment
    if given.get("AWS_ACCESS_KEY_ID") and given.get("AWS_SECRET_ACCESS_KEY"):
        return Credentials(
            given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], given.get("AWS_SESSION_TOKEN", "")
        )
    if given.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return _from_pod_identity(client, given)
    found = _from_botocore()
    if found is None:
        raise AccessError(
            "there are no AWS credentials here: give the service account of the sync Job a role by Pod Identity, "
            "or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return found


def _from_botocore() -> Credentials | None:
    """None where botocore is not there, or finds none."""
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        return None
    try:
        found = botocore.session.get_session().get_credentials()
        frozen = found and found.get_frozen_credentials()
    except botocore.exceptions.BotoCoreError as problem:
        raise AccessError(f"AWS credentials cannot be had: {problem}") from problem
    if not frozen:
        return None
    ends = datetime.datetime.now(datetime.UTC) + 2 * _MARGIN
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "", ends)


def _from_pod_identity(client: Client, given: Mapping[str, str]) -> Credentials:
    """https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
    headers = {}
    if token_file := given.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        headers["Authorization"] = Path(token_file).read_text(encoding="utf-8").strip()
    # The agent is on the node: a proxy does not reach it.
    direct = replace(client, proxied=False)
    try:
        found, __ = direct.json(given["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers)
    except SyncError as problem:
        # An agent that does not run yet on a new node is there for the next try.
        kind = ServerError if isinstance(problem, ServerError) else AccessError
        raise kind(  # pylint: disable=bad-exception-cause
            "the node's Pod Identity agent gives no credentials: has the service account of the sync Job an association, "
            f"and does its role trust pods.eks.amazonaws.com? ({problem})"
        ) from problem
    ends = (
        datetime.datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")) if "Expiration" in found else None
    )
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found.get("Token", ""), ends)
