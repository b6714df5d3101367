# SPDX-License-Identifier: Apache-2.0
"""The AWS emulator as one of a cluster's programs: its command line, its callers' credentials, and what it must be told.

It runs in the host's network, where the controller finds it on 127.0.0.1, and listens on 127.0.0.1 of the cluster's network too, where
the API server asks it about tokens: nothing has to come in from the cluster's link, which a host's firewall may forbid.
"""

from __future__ import annotations

import json
import secrets
import sys
import urllib.request
from pathlib import Path
from typing import Any

from local.aws.config import keys_from
from local.aws.errors import EmulatorError
from local.aws.webhook import webhook_kubeconfig

from . import network
from .config import AWS_PORT_INSIDE, ClusterConfig
from .errors import LocalClusterError

PROGRAM = "aws"
_TIMEOUT_S = 10


def folder(config: ClusterConfig) -> Path:
    return config.state / "aws"


def credentials_file(config: ClusterConfig) -> Path:
    """A file for AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE alike, with everything that a client needs."""
    return folder(config) / "credentials"


def webhook_file(config: ClusterConfig) -> Path:
    return config.state / "conf" / "token-webhook.kubeconfig"


def command(config: ClusterConfig) -> list[str]:
    assert config.aws is not None
    inside = f"127.0.0.1:{AWS_PORT_INSIDE}@{network.network_namespace(config)}"
    listen = [f"--listen={address}" for address in (f"127.0.0.1:{config.aws_port}", inside)]
    delays = [f"--delay={kind}={seconds}" for kind, seconds in sorted(config.aws.delays.items())]
    emulator = [sys.executable, "-m", "local.aws", "serve", f"--state={folder(config)}"]
    emulator += [f"--credentials={credentials_file(config)}"]
    return [*emulator, *listen, f"--pace={config.aws.pace}", *delays]


def ensure_keys(config: ClusterConfig) -> bool:
    """Create the caller's key, once; True when it was created. Real AWS does not know the key: it only opens the emulator."""
    file = credentials_file(config)
    if file.exists():
        return False
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(_credentials(config, {"access_key": "local", "secret_key": secrets.token_urlsafe(30)}))
    return True


def files(config: ClusterConfig) -> dict[Path, str]:
    """The files that the emulator and its clients read, with the key of `ensure_keys`."""
    file = credentials_file(config)
    return {file: _credentials(config, keys_from(file))}


def _credentials(config: ClusterConfig, keys: dict[str, str]) -> str:
    assert config.aws is not None
    lines = [
        "[default]",
        f"aws_access_key_id = {keys['access_key']}",
        f"aws_secret_access_key = {keys['secret_key']}",
        f"region = {config.aws.region}",
        f"endpoint_url = {config.aws_url}",
    ]
    return "\n".join(lines) + "\n"


def webhook(config: ClusterConfig) -> str:
    assert config.aws is not None
    return webhook_kubeconfig(f"http://127.0.0.1:{AWS_PORT_INSIDE}", config.aws.region, config.name)


def ready(config: ClusterConfig) -> bool:
    try:
        return bool(_ask(config, "GET", "health")["ok"])
    except LocalClusterError:
        return False


def introduce(config: ClusterConfig) -> bool:
    """Tell the emulator where this cluster's API server is; True unless it knew. Raises LocalClusterError."""
    authority = (config.state / "pki" / "ca.crt").read_text()
    wanted = {"endpoint": config.api_url, "ca": authority}
    if _ask(config, "GET", f"endpoints/{config.name}") == wanted:
        return False
    _ask(config, "PUT", f"endpoints/{config.name}", wanted)
    return True


def _ask(config: ClusterConfig, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    url = f"{config.aws_url}/_emulator/{path}"
    body = json.dumps(document).encode() if document is not None else None
    secret = {"Authorization": f"Bearer {keys_from(credentials_file(config))['secret_key']}"} if body else {}
    request = urllib.request.Request(url, method=method, data=body, headers=secret)  # noqa: S310 - our own address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (OSError, ValueError, EmulatorError) as error:
        raise LocalClusterError(
            f"local cluster: the AWS emulator at {config.aws_url} does not answer ({error}); see {config.state}/logs/aws.log"
        ) from None
