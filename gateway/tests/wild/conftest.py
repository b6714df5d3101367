# SPDX-License-Identifier: Apache-2.0
"""What public reports of other gateways' users say that clients and engines really send, tried on this one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_support.house import House
from gateway_support.told import Wild


@pytest.fixture
def wild(house: House) -> Iterator[Wild]:
    """Told engines, and gateways before them."""
    built = Wild(house)
    yield built
    built.close()
