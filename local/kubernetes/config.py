# SPDX-License-Identifier: Apache-2.0
"""What a local cluster is: its name, and everything that follows from the name.

All of a cluster lives in one network namespace, so ports, bridges, pod and Service ranges are the same in every cluster.
Only what the host sees must differ: the veth pair with its /30, and the front door's port on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from local.aws.config import EmulatorConfig
from local.aws.errors import EmulatorError

from .errors import LocalClusterError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Ranges:
    """Address ranges of one IP family: the links between host and clusters, and the networks inside every cluster."""

    links: str
    pods: str
    services: str

    def link(self, number: int) -> tuple[Address, Address, int]:
        """Addresses of host and node, and the prefix length of the network with just these two (`/30`, `/126`)."""
        links = ipaddress.ip_network(self.links)
        first = links.network_address + 4 * number
        return first + 1, first + 2, links.max_prefixlen - 2

    def service(self, number: int) -> str:
        return str(ipaddress.ip_network(self.services)[number])


STATE_ROOT = Path("/var/lib/llm.on_eks")
# 198.18.0.0/15 and 2001:2::/48 are reserved for tests of network devices (RFC 2544, RFC 5180): they collide with nobody's LAN or VPN.
RANGES = {
    "ipv4": Ranges(links="198.18.0.0/16", pods="198.19.0.0/17", services="198.19.128.0/17"),
    "ipv6": Ranges(links="2001:2::/64", pods="2001:2:0:1::/64", services="2001:2:0:2::/108"),
}
API_PORT = 6443
DNS_PORT = 5353
FRONT_DOOR_NODE_PORT = 30080
# Port of the AWS emulator inside a cluster's network.
AWS_PORT_INSIDE = 4566
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


@dataclass(frozen=True)
class AwsConfig:
    """The emulated AWS account beside a cluster.

    `port`: on 127.0.0.1; 0 derives it from the cluster's name. `pace`: 0 is at once, 1 as slow as AWS; `delays`
    overrides it for single kinds, in seconds. `controllers`: AWS's own controllers run beside the cluster (controllers.py).
    """

    region: str = "us-west-2"
    port: int = 0
    pace: float = 0.0
    delays: dict[str, float] = field(default_factory=dict)
    controllers: bool = False

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise LocalClusterError(
                f"local cluster: {self.region!r} is not an AWS region, such as us-west-2 (local_cluster_aws_region)"
            )
        if not 0 <= self.port < 65536:
            raise LocalClusterError(f"local cluster: {self.port} is not a port (local_cluster_aws_port)")
        try:
            EmulatorConfig(pace=self.pace, delays=self.delays)
        except EmulatorError as error:
            raise LocalClusterError(
                f"local cluster: {error} (local_cluster_aws_pace, local_cluster_aws_delays)"
            ) from None


@dataclass(frozen=True)
class ClusterConfig:
    """`node=False` is a control plane alone: enough for everything but pods that run.

    `front_door_port`: port on 127.0.0.1 that leads to NodePort 30080; 0 derives it from the name.
    `ip_family`: ipv4 or ipv6, of nodes, pods and Services; the front door answers on 127.0.0.1 and ::1 in any case.
    `aws`: an emulated AWS account runs beside the cluster, whose API server takes its EKS tokens; None is without.
    `token_webhook`: path of a kubeconfig for the API server's token review webhook, where that is someone else's.
    """

    name: str
    node: bool = True
    front_door_port: int = 0
    ip_family: str = "ipv4"
    state_root: Path = STATE_ROOT
    token_webhook: Path | None = None
    aws: AwsConfig | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LocalClusterError(
                f"local cluster: the name {self.name!r} is not usable; take at most 24 lower-case letters, digits and dashes"
            )
        if self.ip_family not in RANGES:
            raise LocalClusterError(
                f"local cluster: {self.ip_family!r} is no IP family; it is ipv4 or ipv6 (local_cluster_ip_family)"
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
    def stands_for_eks(self) -> bool:
        """Whether an AWS emulator, this cluster's or another, presents this cluster as an EKS cluster."""
        return self.aws is not None or self.token_webhook is not None

    @property
    def device(self) -> str:
        """The host's end of the veth pair; Linux allows 15 characters."""
        return f"llm{self.number:x}"

    @property
    def ranges(self) -> Ranges:
        return RANGES[self.ip_family]

    @property
    def host_address(self) -> str:
        return str(self.ranges.link(self.number)[0])

    @property
    def node_address(self) -> str:
        return str(self.ranges.link(self.number)[1])

    @property
    def link_prefix(self) -> int:
        return self.ranges.link(self.number)[2]

    @property
    def every_address(self) -> str:
        """The address for listening on all addresses of the family."""
        return "::" if self.ip_family == "ipv6" else "0.0.0.0"  # noqa: S104 - of a network of the cluster's own

    @property
    def api_service(self) -> str:
        return self.ranges.service(1)

    @property
    def dns_service(self) -> str:
        return self.ranges.service(10)

    @property
    def node_host(self) -> str:
        """The node's address as URLs have it."""
        return f"[{self.node_address}]" if self.ip_family == "ipv6" else self.node_address

    @property
    def api_url(self) -> str:
        return f"https://{self.node_host}:{API_PORT}"

    @property
    def front_door(self) -> int:
        """Derived ports lie below the range that Linux hands out for outgoing connections (32768)."""
        return self.front_door_port or 16400 + self.number

    @property
    def aws_port(self) -> int:
        """Derived ports lie below those of the front doors."""
        return (self.aws.port if self.aws else 0) or 10000 + self.number % 6400

    @property
    def aws_url(self) -> str:
        """The emulated account's URL for programs on this machine; empty without one."""
        return f"http://127.0.0.1:{self.aws_port}" if self.aws else ""
