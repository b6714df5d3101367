# SPDX-License-Identifier: Apache-2.0
"""The windows that are measured: one load on one gateway, seen by the client and by the scheduler's books."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine
from peers import Peer

TRIES = 4
DISTURBED = 0.08  # softirqs on behalf of the gateway's own packets are in it
STREAM_GAP_US = 20_000  # 50 tokens a second, as a good engine gives one user


@dataclass
class Running:
    """A gateway that is up."""

    name: str
    port: int
    process: subprocess.Popen[str]
    keys: int = 1

    @property
    def pids(self) -> list[int]:
        return machine.tree(self.process.pid)


@contextmanager
def engines(count: int, folder: Path, *options: str) -> Iterator[list[str]]:
    """Mock engines on the load core; HOST:PORT of each."""
    program = machine.compiled("engine")
    process = machine.start(
        [str(program), str(count), *options],
        machine.LOAD_CORE,
        folder / "engine.log",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process.stdout.readline().split()
    finally:
        machine.stop(process)


def port_of(address: str) -> int:
    """The port in HOST:PORT."""
    return int(address.rpartition(":")[2])


def ready(port: int, path: str, process: subprocess.Popen[str], limit_s: float) -> bool:
    """Wait until a gateway says that it is."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
                if reply.status == 200:
                    return True
        except OSError:
            time.sleep(0.1)
    return False


def launch(peer: Peer, addresses: Sequence[str], folder: Path) -> Running:
    """Start a peer on the gateway core. Raises Unavailable."""
    program = peer.install()
    port = machine.free_port()
    command = peer.command(program, port, addresses, folder)
    return launched(peer.name, command, port, folder, peer.health, peer.environment(), peer.keys)


def launched(
    name: str, command: Sequence[str], port: int, folder: Path, health: str, environment: dict[str, str], keys: int
) -> Running:
    """Start a command on the gateway core and wait for it. Raises Unavailable."""
    log = folder / f"{name}.log"
    process = machine.start(command, machine.GATEWAY_CORE, log, environment)
    if not ready(port, health, process, 120):
        machine.stop(process)
        raise machine.Unavailable(f"does not start: {log.read_text()[-200:].strip()!r}")
    return Running(name, port, process, keys)


def load(port: int, connections: int, seconds: float, **options: Any) -> dict[str, float]:
    """Run the load generator; what it saw."""
    program = machine.compiled("load")
    complaints = machine.cache_folder() / "load.log"
    arguments = [str(program), str(port), str(connections), str(seconds)]
    arguments += [f"{name}={value}" for name, value in options.items()]
    process = machine.start(arguments, machine.LOAD_CORE, complaints, stdout=subprocess.PIPE)
    out, __ = process.communicate()
    seen: dict[str, float] = json.loads(out)
    if seen["not_200"] or seen["errors"]:
        sys.stderr.write(
            f"bench: port {port}: {seen['errors']} errors, {seen['not_200']} not 200: {complaints.read_text()[:300]}\n"
        )
    return seen


def window(running: Running, connections: int, seconds: float, **options: Any) -> dict[str, float]:
    """One measured window: the load generator's figures, the gateway's CPU seconds in it, and the share of its core that others took.

    A window in which others took much is measured again; of all tries the least disturbed one counts.
    """
    best: dict[str, float] = {}
    for __ in range(TRIES):
        pids = running.pids
        machine.settle(pids)
        cpu, busy, began = machine.cpu_s(pids), machine.core_busy_s(), time.monotonic()
        seen = load(running.port, connections, seconds, keys=running.keys, **options)
        elapsed = time.monotonic() - began
        seen["cpu_s"] = machine.cpu_s(running.pids) - cpu
        taken = machine.core_busy_s()[machine.GATEWAY_CORE] - busy[machine.GATEWAY_CORE]
        seen["foreign"] = max(0.0, (taken - seen["cpu_s"]) / elapsed)
        if not best or seen["foreign"] < best["foreign"]:
            best = seen
        if best["foreign"] <= DISTURBED:
            break
    return best


@dataclass(frozen=True)
class Test:
    """One kind of window."""

    name: str
    connections: int
    options: dict[str, Any]
    slow_too: bool = False


TESTS = (
    Test("c64", 64, {}, slow_too=True),
    Test("c1", 1, {}, slow_too=True),
    Test("c64_8k", 64, {"prompt": 8_000}),
    Test("c64_100k", 64, {"prompt": 100_000}),
    Test("streams", 100, {"stream": 1, "tokens": 1000, "gap": STREAM_GAP_US, "ramp": 300}),
)


def held_streams(running: Running, count: int, seconds: float = 6.0) -> tuple[float, dict[str, float]]:
    """Memory with so many open streams, one token a second each, looked at before they end."""
    program = machine.compiled("load")
    options = [
        str(running.port),
        str(count),
        str(seconds),
        "stream=1",
        "tokens=1000",
        "gap=1000000",
        "ramp=4000",
        f"keys={running.keys}",
    ]
    process = machine.start([str(program), *options], machine.LOAD_CORE, Path("/dev/null"), stdout=subprocess.PIPE)
    time.sleep(4.0 + seconds - 1.0)
    memory = machine.memory_mb(running.pids)
    out, __ = process.communicate(timeout=60)
    return memory, json.loads(out)


def middle(samples: Sequence[dict[str, float]], name: str) -> float:
    """The median of one figure over windows."""
    return median(sample[name] for sample in samples)


def per(samples: Sequence[dict[str, float]], above: str, below: str) -> float:
    """The median over windows of one figure divided by another; 0 where there is none."""
    return median(sample[above] / sample[below] if sample[below] else 0.0 for sample in samples)
