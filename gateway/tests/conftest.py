# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the gateway's tests: fake engines that misbehave on demand, and a gateway in front of them, in one background loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# What is tested: the sources, or a copy of them with the compiled part in it (test_compiled.py).
SOURCE = Path(os.environ.get("LLM_GATEWAY_SOURCE") or HERE.parent / "src")
for path in (HERE, SOURCE):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))

from gateway_support.house import House  # noqa: E402  the path above makes it importable


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A place to build engines and gateways in; all of it is gone after the test."""
    with House(tmp_path) as built:
        yield built
