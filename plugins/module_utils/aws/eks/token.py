# SPDX-License-Identifier: Apache-2.0
"""A bearer token for an EKS cluster's API, made without a program: a presigned STS GetCallerIdentity.

https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

from ..base.connection import Connection
from ..base.errors import AwsError

PREFIX = "k8s-aws-v1."
# The authenticator accepts a signature for 15 minutes; the URL's own expiry is at most 60 s there.
LIFETIME_S = 14 * 60.0
_URL_EXPIRY_S = 60


def token(connection: Connection, cluster: str) -> str:
    """A fresh token, good for about 15 minutes. Raises AwsError."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    sts: Any = connection.client("sts")
    credentials = sts._request_signer._credentials
    if credentials is None:
        raise AwsError(
            f"EKS cluster {cluster}: no AWS credentials to sign a token with; set AWS_PROFILE, or access keys"
        )
    url = f"{sts.meta.endpoint_url.rstrip('/')}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url, headers={"x-k8s-aws-id": cluster})
    signer = SigV4QueryAuth(credentials.get_frozen_credentials(), "sts", sts.meta.region_name, expires=_URL_EXPIRY_S)
    signer.add_auth(request)
    return PREFIX + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")


class TokenSource:
    """Returns the same token until it is about to expire. Safe to share between threads."""

    def __init__(self, connection: Connection, cluster: str) -> None:
        self.connection, self.cluster = connection, cluster
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def __call__(self) -> str:
        """Raises AwsError."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._token = token(self.connection, self.cluster)
                self._until = time.monotonic() + LIFETIME_S - 60
            return self._token
