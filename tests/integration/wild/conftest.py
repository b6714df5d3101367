# SPDX-License-Identifier: Apache-2.0
"""What people reported of tools that do this job, tried on converge with a real API server."""

from __future__ import annotations

import pytest

from tests.support.cluster_client import new_client, unique


@pytest.fixture
def client(api_server):
    return new_client(api_server)


@pytest.fixture
def name():
    return unique("w")


@pytest.fixture
def kubectl(api_server):
    """What a person does by hand: `kubectl("get", "pods", given=document)`."""
    from tests.support import cluster_client

    def run(*arguments, **options):
        return cluster_client.kubectl(api_server, *arguments, **options)

    return run
