# SPDX-License-Identifier: Apache-2.0
"""What a local cluster is: its name, and everything that follows from the name.

All of a cluster lives in one network namespace, so ports, bridges, pod and Service ranges are the same in every cluster.
Only what the host sees must differ: the veth pair with its /30, and the front door's port on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import LocalClusterError

STATE_ROOT = Path("/var/lib/llm.on_eks")
# 198.18.0.0/15 is reserved for tests of network devices (RFC 2544): it collides with nobody's LAN or VPN.
LINKS = ipaddress.ip_network("198.18.0.0/16")
POD_RANGE = ipaddress.ip_network("198.19.0.0/17")
SERVICE_RANGE = ipaddress.ip_network("198.19.128.0/17")
API_SERVICE = str(SERVICE_RANGE[1])
DNS_SERVICE = str(SERVICE_RANGE[10])
API_PORT = 6443
DNS_PORT = 5353
FRONT_DOOR_NODE_PORT = 30080
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


@dataclass(frozen=True)
class ClusterConfig:
    """`node=False` is a control plane alone: enough for everything but pods that run.

    `front_door_port`: port on 127.0.0.1 that leads to NodePort 30080; 0 derives it from the name.
    `token_webhook`: path of a kubeconfig for the API server's token review webhook, or None.
    """

    name: str
    node: bool = True
    front_door_port: int = 0
    state_root: Path = STATE_ROOT
    token_webhook: Path | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LocalClusterError(
                f"local cluster: the name {self.name!r} is not usable; take at most 24 lower-case letters, digits and dashes"
            )

    @property
    def number(self) -> int:
        """A number between 0 and 16383 that stays the same for a name."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:2]) >> 2

    @property
    def state(self) -> Path:
        return self.state_root / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def namespace(self) -> str:
        return f"llm-{self.name}"

    @property
    def cgroup(self) -> str:
        return f"llm-{self.name}"

    @property
    def device(self) -> str:
        """The host's end of the veth pair; Linux allows 15 characters."""
        return f"llm{self.number:x}"

    @property
    def link(self) -> ipaddress.IPv4Network:
        first = int(LINKS.network_address) + 4 * self.number
        return ipaddress.IPv4Network((first, 30))

    @property
    def host_address(self) -> str:
        return str(self.link[1])

    @property
    def node_address(self) -> str:
        return str(self.link[2])

    @property
    def api_url(self) -> str:
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def front_door(self) -> int:
        """Derived ports lie below the range that Linux hands out for outgoing connections (32768)."""
        return self.front_door_port or 16400 + self.number
