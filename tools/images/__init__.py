# SPDX-License-Identifier: Apache-2.0
"""Builds the container images of this repository without a registry. See `python -m tools.images --help`."""

import sys
from pathlib import Path

_REPO = Path(__file__).resolve().parents[2]
# The collection's own code: in a checkout, and where the collection is installed.
for _folder in (_REPO / "collections", _REPO.parents[2]):
    if (_folder / "ansible_collections").is_dir() and str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
