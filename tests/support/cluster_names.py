# SPDX-License-Identifier: Apache-2.0
"""Names of clusters that tests make: another prefix for each process that runs tests, so that these may run beside each other."""

from __future__ import annotations

import os


def cluster_name(purpose: str) -> str:
    """`LLM_ON_EKS_TEST_CLUSTER` is the prefix; workers of pytest-xdist have one each."""
    prefix = os.environ.get("LLM_ON_EKS_TEST_CLUSTER", "t")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return "-".join(part for part in (prefix, worker, purpose) if part)


# The control plane that all integration tests of a process share (tests/integration/conftest.py).
CONTROL_PLANE = cluster_name("api")
