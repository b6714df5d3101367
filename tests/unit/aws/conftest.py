# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.support.emulated_aws import EmulatedAws


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """A fresh account for the tests of one file, everything done at once."""
    with EmulatedAws("--state", str(tmp_path_factory.mktemp("aws"))) as emulated:
        yield emulated


@pytest.fixture
def aws(account):
    """The same, without faults of an earlier test."""
    account.reset()
    yield account
    account.reset()
