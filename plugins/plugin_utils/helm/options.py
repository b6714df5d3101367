# SPDX-License-Identifier: Apache-2.0
"""Where charts and the Helm binary are on this controller."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def default_cache() -> Path:
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks")


@dataclass(frozen=True)
class ChartOptions:
    """`cache`: the collection's cache folder; `mirror`: a folder of NAME-VERSION.tgz that is asked first; `helm`: the binary's path."""

    cache: Path = field(default_factory=default_cache)
    mirror: Path | None = None
    helm: str = ""

    @property
    def charts(self) -> Path:
        return self.cache / "charts"

    @property
    def renderings(self) -> Path:
        return self.cache / "renderings"
