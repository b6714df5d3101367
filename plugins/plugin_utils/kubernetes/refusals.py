# SPDX-License-Identifier: Apache-2.0
"""Why the API refused a request, judged by its message: which refusals are temporary, and what the user can do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _INTERNAL = 401, 403, 404, 500
# A 500 that is caused by the request itself: a retry gives the same answer.
_FINAL = (
    re.compile(rb"admission webhook.*denied the request", re.DOTALL),
    re.compile(rb"duplicate entries for key"),
    re.compile(rb"failed to create typed patch object"),
    re.compile(rb"failed to create manager for existing fields"),
)
# What a 403 says, and what helps. Only the first entry is about the caller's permissions.
_MENDS: tuple[tuple[str, str], ...] = (
    (r"cannot \S+ resource|cannot \w+ path", "give these credentials the right, or use others"),
    (
        r"attempting to grant RBAC permissions",
        "these credentials can give no right that they lack: use others, or `escalate`",
    ),
    (
        r"exceeded quota|failed quota|must specify",
        "ask for less, or raise the quota of that namespace (kubectl describe quota)",
    ),
    (
        r"violates PodSecurity",
        "change the pod, or the level of its namespace (`namespace.pod_security` of the component)",
    ),
    (r"because it is being terminated", "wait until that namespace is gone, then run again"),
    (
        r"(maximum|minimum) \S+( usage)? per |limit to request ratio",
        "keep to the LimitRange of that namespace, or change it",
    ),
    (r"ValidatingAdmissionPolicy|MutatingAdmissionPolicy", "change the object, or that policy of the cluster"),
    (r"admission webhook", "change the object, or ask who runs that webhook"),
    (r"unable to create new content in namespace", "wait until that namespace is gone, then run again"),
)


def is_final(data: bytes) -> bool:
    """Whether an answer with a retryable status is final all the same."""
    return any(words.search(data) for words in _FINAL)


def plain(message: str) -> str:
    """The API's words in one line, without the difference that it adds to some refusals; a misspelt field in plain words."""
    unknown = re.search(
        r"failed to create typed patch object.*: \.(\S+): field not declared in schema", message, re.DOTALL
    )
    if unknown:
        return f"it has no field {unknown[1]}; check the spelling, and whether its apiVersion is right"
    return " ".join(message.split("\n@@")[0].split())


def mend(status: int, message: str, details: Mapping[str, Any]) -> str:
    """What the user can do about a refusal; empty where its message says it, or where we do not know."""
    if status == _UNAUTHORIZED:
        return "give these credentials the right, or use others"
    if status == _INTERNAL and (webhook := re.search(r'failed calling webhook "([^"]+)"', message)):
        return f"the webhook {webhook[1]} does not answer: mend what serves it, or remove its webhook configuration"
    if status == _NOT_FOUND and re.match(r'namespaces "[^"]+" not found', message):
        return "create that namespace, or let a component of the run make it (`namespace`)"
    if status != _FORBIDDEN:
        return ""
    return next((text for words, text in _MENDS if re.search(words, message)), "")
