# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support.cluster_names import cluster_name
from tests.support.local_platform import converged


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """The converged slice that all tests here use."""
    with converged(cluster_name("slice"), tmp_path_factory.mktemp("inventory")) as made:
        yield made
