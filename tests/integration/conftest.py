# SPDX-License-Identifier: Apache-2.0
"""A real control plane for all integration tests of a session: etcd, API server, controller manager, scheduler; no node."""

from __future__ import annotations

import os

import pytest

from local.kubernetes.cluster import Cluster
from local.kubernetes.config import ClusterConfig


@pytest.fixture(scope="session")
def control_plane():
    """The running cluster object; `.kubeconfig` is the path of an admin kubeconfig."""
    cluster = Cluster(ClusterConfig(name=os.environ.get("LLM_ON_EKS_TEST_CLUSTER", "t-integration"), node=False))
    cluster.down()
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def api_server(control_plane):
    """Path of an admin kubeconfig of a real API server."""
    return control_plane.kubeconfig
