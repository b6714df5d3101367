# SPDX-License-Identifier: Apache-2.0
"""Makes the checkout importable as the collection, as a package root and as the gateway's source tree."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
for path in (Path(sys.prefix) / "collections", REPO / "gateway" / "src", REPO, REPO / "collections"):
    sys.path.insert(0, str(path))


def pytest_configure(config):
    """`ansible-test units` comes with a configuration of its own, which does not know our marks."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    for mark in project["tool"]["pytest"]["ini_options"]["markers"]:
        config.addinivalue_line("markers", mark)
