# SPDX-License-Identifier: Apache-2.0
"""Who signed a request, and whether the signature is right: the part of STS behind an EKS token.

A token is `k8s-aws-v1.` and the base64url of a presigned GetCallerIdentity with the signed header `x-k8s-aws-id`:
https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hmac
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from .config import EmulatorConfig

_PREFIX = "k8s-aws-v1."
# A token is valid for 15 minutes from its signature, whatever its own expiry says.
_LIFE_S = 900
_SKEW_S = 60


@dataclass(frozen=True)
class Caller:
    """`arn`: as in GetCallerIdentity; `principal`: as IAM and access entries name it; `secret`: the key that signs."""

    arn: str
    principal: str
    secret: str | None
    session_token: str | None = None


def caller_of(config: EmulatorConfig, access_key: str) -> Caller:
    """The owner of an access key. Unknown keys count as the configured caller's, but sign nothing."""
    if access_key == config.access_key:
        return Caller(config.caller_arn, config.caller_arn, config.secret_key)
    # moto creates a partition's backend at its first use: either service may have been the first.
    for backend in sts_backends[config.account].values():
        for role in backend.assumed_roles:
            if role.access_key_id == access_key:
                return Caller(role.arn, role.role_arn, role.secret_access_key, role.session_token)
    for identities in iam_backends[config.account].values():
        for user in identities.users.values():
            for key in user.access_keys:
                if key.access_key_id == access_key:
                    return Caller(user.arn, user.arn, key.secret_access_key)
    return Caller(config.caller_arn, config.caller_arn, None)


def verify(config: EmulatorConfig, token: str, cluster: str) -> Caller | None:
    """The caller who signed the token for this cluster; None when it is forged, expired, or for another cluster."""
    if not token.startswith(_PREFIX):
        return None
    text = token.removeprefix(_PREFIX)
    try:
        url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        query = dict(parse_qsl(urlsplit(url).query))
        access_key, __, region, service, __ = query["X-Amz-Credential"].split("/")
        signed_at = calendar.timegm(time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        given = query["X-Amz-Signature"]
    except (binascii.Error, UnicodeDecodeError, KeyError, ValueError):
        return None
    headers = query.get("X-Amz-SignedHeaders", "").split(";")
    if query.get("Action") != "GetCallerIdentity" or service != "sts" or "x-k8s-aws-id" not in headers:
        return None
    if not signed_at - _SKEW_S <= time.time() <= signed_at + _LIFE_S:
        return None
    found = caller_of(config, access_key)
    if found.secret is None or (found.session_token or None) != query.get("X-Amz-Security-Token"):
        return None
    request = AWSRequest("GET", url.partition("&X-Amz-Signature=")[0], headers={"x-k8s-aws-id": cluster})
    request.context["timestamp"] = query["X-Amz-Date"]
    signer = SigV4QueryAuth(Credentials(access_key, found.secret), service, region)
    wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return found if hmac.compare_digest(wanted, given) else None
