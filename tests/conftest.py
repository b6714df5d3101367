# SPDX-License-Identifier: Apache-2.0
"""Makes the checkout importable as the collection, as a package root and as the gateway's source tree."""

from __future__ import annotations

import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
for path in (Path(sys.prefix) / "collections", REPO / "gateway" / "src", REPO, REPO / "collections"):
    sys.path.insert(0, str(path))
