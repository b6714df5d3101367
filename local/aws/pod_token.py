# SPDX-License-Identifier: Apache-2.0
"""The tokens by which pods ask for their IAM role: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/

Nobody signs them here: who may ask for sessions has the account's own key.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

AUDIENCE = "pods.eks.amazonaws.com"


def token_of(namespace: str, service_account: str, pod: str = "") -> str:
    """A token for a pod, as an API server writes it."""
    about = {"namespace": namespace, "serviceaccount": {"name": service_account}, "pod": {"name": pod, "uid": pod}}
    parts = ({"alg": "none"}, {"aud": [AUDIENCE], "kubernetes.io": about})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def pod_of(token: str) -> dict[str, Any] | None:
    """What a token says of its pod; None for no such token."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        pod: dict[str, Any] = claims["kubernetes.io"]
        return pod if AUDIENCE in claims["aud"] and pod["namespace"] and pod["serviceaccount"]["name"] else None
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
