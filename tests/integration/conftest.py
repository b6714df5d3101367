# SPDX-License-Identifier: Apache-2.0
"""One real control plane for all integration tests of a process: etcd, API server, controller manager, scheduler; no node."""

from __future__ import annotations

import pytest

from tests.support.aws_account import Account
from tests.support.aws_roles import described
from tests.support.cluster_names import CONTROL_PLANE
from tests.support.emulated_cluster import emulated_eks


@pytest.fixture(scope="session")
def eks(tmp_path_factory):
    """A control plane that stands for an EKS cluster named CONTROL_PLANE wherever a test opens an account beside it."""
    with emulated_eks(CONTROL_PLANE, tmp_path_factory.mktemp("eks")) as running:
        yield running


@pytest.fixture(scope="session")
def control_plane(eks):
    """The running cluster object; `.kubeconfig` is the path of an admin kubeconfig."""
    return eks.cluster


@pytest.fixture(scope="session")
def api_server(control_plane):
    """Path of an admin kubeconfig of a real API server."""
    return control_plane.kubeconfig


@pytest.fixture(scope="module")
def aws(eks):
    """An account with nothing in it, whose cluster is the control plane; for the tests of one file."""
    with eks.account() as made:
        yield made


# Long enough that a run is caught while AWS is at work.
DELAYS = {"cluster": 0.4, "cluster-version": 0.5, "cluster-delete": 0.4, "nodegroup": 0.4, "nodegroup-update": 0.4}
DELAYS |= {"nodegroup-delete": 0.4, "nat-gateway": 0.3, "nat-gateway-delete": 0.3, "mount-target": 0.3, "addon": 0.2}
DELAYS |= {"mount-target-delete": 0.3, "file-system-delete": 0.2, "addon-delete": 0.2}


@pytest.fixture(scope="module")
def shared_account(eks):
    """(account, shape -> components of the real AWS roles); each test leaves the account as empty as it found it."""
    shapes = {"plain": {}, "older": {"cluster_version": "1.34"}, "kept": {"storage_efs_retain": True}}
    made = described(CONTROL_PLANE, **shapes, seed={"identity_variant": "seed"})
    delays = [word for kind, seconds in DELAYS.items() for word in ("--delay", f"{kind}={seconds}")]
    with eks.account(*delays) as aws:
        yield Account(CONTROL_PLANE, aws), made


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
