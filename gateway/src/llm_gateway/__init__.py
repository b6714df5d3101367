# SPDX-License-Identifier: Apache-2.0
"""A gateway in front of LLM engines. `docs` of the parts: README.md beside the package."""

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

__version__ = "1.0.0"


def _only_sources() -> None:
    """Make this package's modules be loaded from their sources, even where compiled ones lie beside them."""
    here = str(Path(__file__).parent)

    def finder(path: str) -> FileFinder:
        if path != here and not path.startswith(here + os.sep):
            raise ImportError(path)
        return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))

    sys.path_hooks.insert(0, finder)


# For finding out whether a fault is the compiled part's.
if os.environ.get("LLM_GATEWAY_PURE", "") not in ("", "0"):
    _only_sources()
