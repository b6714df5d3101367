# SPDX-License-Identifier: Apache-2.0
"""What pages need of all worker processes together."""

from __future__ import annotations

from typing import Protocol


class Workers(Protocol):
    """This worker and its siblings."""

    async def ready(self) -> bool:
        """Whether all other workers are ready: a connection may end up at any of them."""

    async def exposed_metrics(self) -> str:
        """Prometheus' text, over all workers."""

    async def others_counts(self) -> list[bytes]:
        """Snapshots of all other workers' metrics."""

    async def tell(self, command: str) -> None:
        """Have all workers do what `Gateway.command` does."""
