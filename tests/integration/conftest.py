# SPDX-License-Identifier: Apache-2.0
"""A real control plane for all integration tests of a session: etcd, API server, controller manager, scheduler; no node."""

from __future__ import annotations

import pytest

from local.kubernetes.cluster import Cluster
from local.kubernetes.config import ClusterConfig
from tests.support import aws_account
from tests.support.aws_roles import described
from tests.support.cluster_names import cluster_name


@pytest.fixture(scope="session")
def control_plane():
    """The running cluster object; `.kubeconfig` is the path of an admin kubeconfig."""
    cluster = Cluster(ClusterConfig(name=cluster_name("api"), node=False))
    cluster.down()
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def api_server(control_plane):
    """Path of an admin kubeconfig of a real API server."""
    return control_plane.kubeconfig


# Long enough that a run is caught while AWS is at work.
DELAYS = {"cluster": 0.4, "cluster-version": 0.5, "cluster-delete": 0.4, "nodegroup": 0.4, "nodegroup-update": 0.4}
DELAYS |= {"nodegroup-delete": 0.4, "nat-gateway": 0.3, "nat-gateway-delete": 0.3, "mount-target": 0.3, "addon": 0.2}
DELAYS |= {"mount-target-delete": 0.3, "file-system-delete": 0.2, "addon-delete": 0.2}


@pytest.fixture(scope="session")
def shared_account(tmp_path_factory):
    """(account, shape -> components of the real AWS roles); each test leaves the account as empty as it found it."""
    name = cluster_name("account")
    shapes = {"plain": {}, "older": {"cluster_version": "1.34"}, "kept": {"storage_efs_retain": True}}
    made = described(name, **shapes, seed={"identity_variant": "seed"})
    delays = [word for kind, seconds in DELAYS.items() for word in ("--delay", f"{kind}={seconds}")]
    with aws_account.opened(name, tmp_path_factory.mktemp("account"), *delays) as account:
        yield account, made


@pytest.fixture
def account(shared_account):
    """The account, renewed if the last test left something in it."""
    found = shared_account[0]
    if not found.is_empty():
        found.renew()
    yield found
    found.aws.reset()


@pytest.fixture
def shapes(shared_account):
    return shared_account[1]
