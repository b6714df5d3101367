# SPDX-License-Identifier: Apache-2.0
"""Many requests on one gateway: does its memory keep growing?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
from measure import engines, launch, load
from peers import PEERS

SLICES = 20
FILLING = 15
MAX_GROWTH_MB = 3.0


def run(folder: Path, requests: int) -> dict[str, Any]:
    """Memory after each twentieth of the requests: another key each time, every tenth window streams, some clients leave in the middle."""
    memory: list[float] = []
    sent = failed = 0
    with engines(4, folder) as addresses:
        gateway = launch(next(peer for peer in PEERS if peer.name == "ours"), addresses, folder)
        try:
            # Some tables have room for some thousand entries; let them fill before anything is measured.
            for __ in range(FILLING):
                load(gateway.port, 400, 0.2, keys=gateway.keys, stream=1, tokens=1000, gap=20000, ramp=50)
            for __ in range(SLICES):
                share = requests // SLICES
                plain = load(gateway.port, 64, 600, keys=gateway.keys, vary="request", requests=share * 9 // 10)
                streams = load(
                    gateway.port, 64, 600, keys=gateway.keys, vary="request", requests=share // 10, stream=1, tokens=8
                )
                # Ends in the middle of its streams: the gateway sees its clients leave.
                load(gateway.port, 200, 0.3, keys=gateway.keys, stream=1, tokens=1000, gap=20000)
                sent += int(plain["done"] + streams["done"])
                failed += int(plain["errors"] + plain["not_200"] + streams["errors"] + streams["not_200"])
                machine.settle(gateway.pids)
                memory.append(machine.memory_mb(gateway.pids))
                sys.stderr.write(f"bench: leak run: {sent} requests, {memory[-1]:.1f} MB\n")
        finally:
            machine.stop(gateway.process)
    # The first quarter fills caches, pools and label sets; after it memory should stand still.
    return {"requests": sent, "failed": failed, "memory_mb": memory, "growth_mb": memory[-1] - memory[SLICES // 4]}


def goals(found: dict[str, Any]) -> Iterator[tuple[str, float | None, str, float, float]]:
    """See bench.goals."""
    yield f"memory growth over {found['requests']} requests, MB", found["growth_mb"], "<=", MAX_GROWTH_MB, MAX_GROWTH_MB
    yield "failed requests of the leak run", found["failed"], "<=", 0, 0
