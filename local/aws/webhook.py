# SPDX-License-Identifier: Apache-2.0
"""The file that tells an API server where to ask about bearer tokens.

It needs neither moto nor a YAML library, so that its writer need not load them.
"""

from __future__ import annotations

import json


def webhook_kubeconfig(url: str, region: str, cluster: str) -> str:
    """The file that kube-apiserver's --authentication-token-webhook-config-file names."""
    address = f"{url.rstrip('/')}/_emulator/eks/{region}/{cluster}/token-review"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "emulator", "cluster": {"server": address}}],
        "users": [{"name": "apiserver"}],
        "contexts": [{"name": "webhook", "context": {"cluster": "emulator", "user": "apiserver"}}],
        "current-context": "webhook",
    }
    return json.dumps(document, indent=1) + "\n"
