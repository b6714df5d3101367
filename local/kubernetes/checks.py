# SPDX-License-Identifier: Apache-2.0
"""What must hold before a local cluster is changed; each refusal is one sentence that says what to do."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from .config import ClusterConfig
from .errors import LocalClusterError

DISK_BYTES = 5 * 1024**3
MEMORY_BYTES = 2 * 1024**3
# program or file -> Debian package
PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "iptables": "iptables",
    "conntrack": "conntrack",
}
NODE_PACKAGES = {
    **PACKAGES,
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def refuse_unless_possible(config: ClusterConfig) -> None:
    """Raises LocalClusterError with the first reason why a cluster is impossible here."""
    if platform.system() != "Linux":
        raise LocalClusterError(
            f"local cluster: it needs Linux, this is {platform.system()}; use another kubeconfig (platform_local: false)"
        )
    if os.geteuid() != 0:
        raise LocalClusterError(
            "local cluster: it needs root (network namespaces, mounts, cgroups); run it with sudo or use another kubeconfig (platform_local: false)"
        )
    folder = _existing(config.state)
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise LocalClusterError(
            f"local cluster: {folder} has {free / 1024**3:.1f} GiB free, {DISK_BYTES / 1024**3:.0f} GiB are needed; make room there"
        )
    memory = available_memory()
    if memory < MEMORY_BYTES:
        raise LocalClusterError(
            f"local cluster: {memory / 1024**3:.1f} GiB of memory are available, {MEMORY_BYTES / 1024**3:.0f} GiB are needed; stop something large"
        )
    if config.node:
        refuse_taken_port(config.front_door, "local_cluster_front_door_port")
    if config.aws:
        refuse_taken_port(config.aws_port, "local_cluster_aws_port")


def refuse_taken_port(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise LocalClusterError(
                f"local cluster: port {port} on 127.0.0.1 is taken by another program; stop it or set {variable}"
            ) from None


def available_memory() -> int:
    """Bytes that programs can still allocate, as the kernel estimates it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def refuse_hidden_cache(config: ClusterConfig, cache: Path) -> None:
    """A node's programs have a private /tmp (network.hold_mounts): tools below /tmp could not be started."""
    if config.node and cache.resolve().is_relative_to("/tmp"):  # noqa: S108
        raise LocalClusterError(
            f"local cluster: the cache {cache} lies under /tmp, which a cluster's programs do not see; "
            "set LLM_ON_EKS_CACHE to a folder elsewhere"
        )
