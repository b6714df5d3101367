# SPDX-License-Identifier: Apache-2.0
"""Calls that lead to rights on a real API server, and therefore need the signature of the emulator's own key.

All other calls accept any key, as clients on a developer's machine expect. But EKS tokens open a Kubernetes whose pods
run as root: a user who cannot read the credentials file must not become its administrator through the emulator.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .callers import Caller, caller_of
from .errors import Refusal

if TYPE_CHECKING:
    from .config import EmulatorConfig
    from .journal import Entry
    from .protocol import Call

_LIFE_S = 900
# Calls for new keys and sessions, and for access to a cluster.
_GUARDED = (
    ("eks", "CreateAccessEntry"),
    ("eks", "UpdateAccessEntry"),
    ("eks", "AssociateAccessPolicy"),
    ("eks-auth", "AssumeRoleForPodIdentity"),
    ("iam", "CreateAccessKey"),
    ("sts", "AssumeRole*"),
    ("sts", "Get*Token"),
)


def refuse_unsigned(config: EmulatorConfig, call: Call, entry: Entry) -> None:
    """Raises Refusal when a guarded call is not signed with a key that the emulator knows."""
    guarded = any(call.service == service and fnmatchcase(call.name, name) for service, name in _GUARDED)
    if config.private and guarded and not signed(caller_of(config, call.access_key), call.access_key, entry):
        code = "AccessDeniedException" if call.service == "eks" else "AccessDenied"
        raise Refusal(
            code, f"{call.name} gives rights on a cluster: it must be signed with the emulator's own key", 403
        )


def refuse_stranger(config: EmulatorConfig, entry: Entry) -> None:
    """Raises Refusal when a request to the emulator itself lacks its secret."""
    given = dict(entry.headers).get("Authorization", "")
    if config.private and not hmac.compare_digest(given.encode(), f"Bearer {config.secret_key}".encode()):
        raise Refusal(
            "AccessDenied", "this address takes `Authorization: Bearer SECRET_KEY` of the emulator's caller", 403
        )


def signed(caller: Caller, access_key: str, entry: Entry) -> bool:
    """Whether the request carries the caller's Signature Version 4, by header."""
    headers = {name.lower(): value for name, value in entry.headers}
    scheme, __, fields = headers.get("authorization", "").partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in fields.split(","))
    scope = parts.get("Credential", "").split("/")
    if scheme != "AWS4-HMAC-SHA256" or len(scope) != 5 or caller.secret is None:
        return False
    if (caller.session_token or None) != headers.get("x-amz-security-token"):
        return False
    stamp = headers.get("x-amz-date", "")
    if not _is_recent(stamp, time.time()) or not _hash_fits(headers, entry.body):
        return False
    headers.setdefault("content-length", str(len(entry.body)))
    names = parts.get("SignedHeaders", "").split(";")
    kept = {name: headers[name] for name in names if name in headers}
    request = AWSRequest(entry.method, f"http://{headers.get('host', '')}{entry.url}", headers=kept, data=entry.body)
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(access_key, caller.secret), scope[3], scope[2])
    wanted = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return hmac.compare_digest(wanted, parts.get("Signature", ""))


def _is_recent(stamp: str, now: float) -> bool:
    """AWS accepts a signature for 15 minutes."""
    try:
        return abs(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - now) <= _LIFE_S
    except ValueError:
        return False


def _hash_fits(headers: dict[str, str], body: bytes) -> bool:
    """When a hash is signed in place of the body, it must be the body's."""
    return headers.get("x-amz-content-sha256", "") in ("", hashlib.sha256(body).hexdigest())
