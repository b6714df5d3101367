# SPDX-License-Identifier: Apache-2.0
"""Network policies that the local cluster's node enforces, by kube-router's filter, which no registry has as a program."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.kubernetes import network
from local.kubernetes.config import ClusterConfig
from tests.support.local_platform import LocalPlatform
from tests.support.waiting import until

# Folder with the program `kube-router`.
FOLDER = os.environ.get("LLM_ON_EKS_TEST_KUBE_ROUTER", "")
_BRIDGE = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@contextmanager
def enforcing(platform: LocalPlatform, folder: Path) -> Iterator[None]:
    """The node's filter runs. `folder`: for its log. Without the program nothing is enforced."""
    if not FOLDER:
        yield
        return
    config = ClusterConfig(platform.name)
    inside = network.enter_network(config)
    # Pods of one bridge would answer each other past the filter.
    network.run(*inside, "sh", "-c", f"echo 1 > {_BRIDGE}")
    command = [
        *network.enter_node(config),
        str(Path(FOLDER) / "kube-router"),
        f"--kubeconfig={platform.endpoint['kubeconfig']}",
        f"--hostname-override={platform.name}",
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        "--run-loadbalancer=false",
        "--iptables-sync-period=10s",
        "--v=1",
    ]
    log = folder / "kube-router.log"
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        until(lambda: _holds(inside, process, log), seconds=60)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
        network.run(*command, "--cleanup-config", check=False)
        network.run(*inside, "sh", "-c", f"echo 0 > {_BRIDGE}", check=False)


def _holds(inside: list[str], process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()[-4000:]
    return "KUBE-POD-FW" in network.run(*inside, "iptables-save").stdout
