# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.cluster_names import cluster_name
from tests.support.local_platform import REPO, converged


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """The converged slice that all tests here use."""
    with converged(cluster_name("slice"), tmp_path_factory.mktemp("inventory")) as made:
        yield made


@pytest.fixture
def account(platform, monkeypatch):
    """The emulated account, as amazon.aws and boto3 find it: by the environment. Its endpoint."""
    command = [sys.executable, "-m", "local.kubernetes", "status", "--name", platform.name, "--aws"]
    said = json.loads(subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout)
    monkeypatch.setenv("AWS_ENDPOINT_URL", said["aws_endpoint_url"])
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", said["aws_credentials_file"])
    return said["aws_endpoint_url"]
