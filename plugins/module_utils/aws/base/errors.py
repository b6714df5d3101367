# SPDX-License-Identifier: Apache-2.0
"""AWS failures as one sentence: what, which one, why, and what to do."""

from __future__ import annotations

from typing import Any

from ...errors import LlmOnEksError
from . import sign_in


class AwsError(LlmOnEksError):
    """A call to AWS failed, or a resource has the wrong state. `code` is the service's error code, empty where it gave none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotFound(AwsError):
    """The resource does not exist."""


class NotOurs(AwsError):
    """The resource exists, but does not carry our mark."""


class Unclear(AwsError):
    """The answer to a change was lost: AWS may have carried it out or not."""


_HINTS = {
    "AccessDenied": "{caller} needs the permission {action}",
    "AccessDeniedException": "{caller} needs the permission {action}",
    "UnauthorizedOperation": "{caller} needs the permission {action}",
    "ExpiredToken": "the credentials have expired: sign in again",
    "ExpiredTokenException": "the credentials have expired: sign in again",
    "InvalidClientTokenId": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "UnrecognizedClientException": "the access key is not known: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "AuthFailure": "the credentials were not accepted: check AWS_PROFILE or AWS_ACCESS_KEY_ID",
    "OptInRequired": "the account is not signed up for this service or region",
    "UnsupportedAvailabilityZoneException": "take subnets in the zones that the message names",
}
# Which policy denies a call, in AWS's words, and what helps. No entry: a permission is missing.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_DENIALS = (
    (
        "service control policy",
        "a service control policy of the organization forbids {action}, which nothing in this account can allow: "
        "ask who manages the organization, or use another account or region",
    ),
    (
        "resource control policy",
        "a resource control policy of the organization forbids {action}, which nothing in this account can allow: "
        "ask who manages the organization",
    ),
    ("permissions boundary", "the permissions boundary of {caller} does not allow {action}: extend the boundary"),
    ("session policy", "the session of {caller} was opened with a policy that does not allow {action}: open another"),
    ("VPC endpoint policy", "the policy of the VPC endpoint does not allow {action}: extend it"),
    ("explicit deny in a resource-based policy", "the policy of the resource denies {action}: change that policy"),
    (
        "explicit deny in an identity-based policy",
        "a policy of {caller} denies {action}: take that Deny out, for no Allow overrules it",
    ),
)
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_LIMITS = ("LimitExceeded", "QuotaExceeded", "ResourceLimitExceeded")
_THROTTLED = ("Throttl", "RequestLimitExceeded", "TooManyRequests", "SlowDown", "Rate exceeded")


def sentence(
    subject: str, operation: str, error: Exception, *, action: str = "", caller: str = "the caller", profile: str = ""
) -> str:
    """The failure of one operation. `operation` as in boto3: `create_addon`; `profile`: that of the credentials, empty for none."""
    doing = operation.replace("_", " ")
    response: dict[str, Any] = getattr(error, "response", None) or {}
    code, message = code_of(error), response.get("Error", {}).get("Message") or str(error) or type(error).__name__
    text = " ".join(f"{subject}: {doing} failed: {code + ': ' if code else ''}{message}".split()).rstrip(".")
    hint = _denial(message) if code in _DENIED else ""
    hint = hint or _HINTS.get(code, "")
    if not hint and any(limit in code for limit in _LIMITS):
        hint = "a quota of the account is used up: raise it in Service Quotas, or remove what is not needed"
    if not hint and any(word in code for word in _THROTTLED):
        hint = "AWS kept refusing for the rate of calls in this account: try again later"
    if not code and not hint:
        hint = sign_in.mend(error, profile)
    return f"{text}; {hint.format(caller=caller, action=action)}" if hint else text


def _denial(message: str) -> str:
    return next((text for words, text in _DENIALS if words.lower() in message.lower()), "")


def code_of(error: Exception) -> str:
    """The service's error code; empty for failures that did not come from a service."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or "")
