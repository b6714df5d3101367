# SPDX-License-Identifier: Apache-2.0
"""OpenCost's own program as a process, beside a real API server and a Prometheus. A folder with it is in LLM_ON_EKS_TEST_OPENCOST."""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.live_metrics import running

PROGRAM = Path(os.environ.get("LLM_ON_EKS_TEST_OPENCOST", "/nonexistent")) / "opencost"
needs_opencost = pytest.mark.skipif(
    not PROGRAM.exists(), reason="LLM_ON_EKS_TEST_OPENCOST names no folder with the program opencost"
)


def opencost(
    folder: Path, port: int, kubeconfig: Path, prometheus: str, **settings: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """It runs in `folder`, where prices may be; `settings`: more of its environment."""
    environment = {
        "KUBERNETES_PORT": "443",
        "KUBECONFIG": str(kubeconfig),
        "CLUSTER_ID": "test",
        "PROMETHEUS_SERVER_ENDPOINT": prometheus,
        "API_PORT": str(port),
        "CONFIG_PATH": str(folder),
        **settings,
    }
    return running([PROGRAM], env=environment, cwd=folder)


def node(name: str, cpu: str, memory: str, labels: dict[str, str] | None = None, **capacity: str) -> dict[str, Any]:
    """One that somebody pays for. Without any label it would end OpenCost, which a kubelet's node never is."""
    labels = {"kubernetes.io/hostname": name, **(labels or {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": {"cpu": cpu, "memory": memory, **capacity}},
    }
