# SPDX-License-Identifier: Apache-2.0
"""The gateway beside its peers, on one core, in one run: `make bench-gateway`.

All gateways are up at once, pinned to one core; load generator and mock engines have another. Short windows go round all of them, in another
order each round, so that a slow minute of the machine hits everybody alike. Medians over the windows; ratios are of one run, never of two.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import growth
import leak
import machine
from measure import TESTS, Running, engines, held_streams, launch, load, middle, per, port_of, window
from peers import PEERS

ENGINES = 4
HELD_STREAMS = 4000


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


@contextmanager
def alone() -> Iterator[None]:
    """No two benchmarks at once on this machine."""
    with Path(tempfile.gettempdir(), "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another benchmark runs: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def figures(samples: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """The row of one gateway."""
    row = {}
    for test in ("c64", "c64_8k", "c64_100k"):
        if samples.get(test):
            row[f"{test}_rps"] = middle(samples[test], "rps")
            row[f"{test}_per_cpu_s"] = per(samples[test], "done", "cpu_s")
    if samples.get("c1"):
        row["c1_p50_us"] = middle(samples["c1"], "p50")
    if samples.get("streams"):
        row["token_cpu_us"] = per(samples["streams"], "cpu_s", "tokens") * 1e6
        row["one_way_p99_us"] = middle(samples["streams"], "one_way_p99")
    row["failed"] = sum(each["errors"] + each["not_200"] for windows in samples.values() for each in windows)
    return row


def compare(names: Sequence[str], rounds: int, seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Measure ours and the peers; a row for each, or why there is none."""
    rows: dict[str, dict[str, Any]] = {}
    running: dict[str, Running] = {}
    slow = {peer.name for peer in PEERS if peer.slow}
    with engines(ENGINES, folder) as addresses:
        try:
            for peer in PEERS:
                if peer.name not in names:
                    continue
                try:
                    running[peer.name] = launch(peer, addresses, folder)
                except machine.Unavailable as why:
                    rows[peer.name] = {"skipped": str(why)}
                    say(f"{peer.name}: skipped: {why}")
            samples: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in running}
            memory = {}
            for name, each in running.items():
                load(each.port, 8, 1.0, keys=each.keys)
                machine.settle(each.pids)
                memory[name] = machine.memory_mb(each.pids)
            direct = []
            chance = random.Random(1)
            for number in range(rounds):
                for test in TESTS:
                    order = [name for name in running if test.slow_too or name not in slow]
                    chance.shuffle(order)
                    for name in order:
                        taken = window(
                            running[name], test.connections, seconds * (2 if name in slow else 1), **test.options
                        )
                        samples[name].setdefault(test.name, []).append(taken)
                direct.append(load(port_of(addresses[0]), 1, 1.0))
                say(f"round {number + 1} of {rounds} done")
            for name, each in running.items():
                rows[name] = figures(samples[name]) | {"idle_mb": memory[name]}
                if name not in slow:
                    rows[name]["held_mb"], held = held_streams(each, HELD_STREAMS)
                    rows[name]["failed"] += held["errors"] + held["not_200"]
            rows["direct"] = {"c1_p50_us": middle(direct, "p50")}
        finally:
            for each in running.values():
                machine.stop(each.process)
    return rows


COLUMNS = (
    ("c64_rps", "req/s", "{:.0f}"),
    ("c64_per_cpu_s", "req/CPU-s", "{:.0f}"),
    ("c64_8k_rps", "8 kB", "{:.0f}"),
    ("c64_100k_rps", "100 kB", "{:.0f}"),
    ("c1_p50_us", "p50 µs", "{:.0f}"),
    ("token_cpu_us", "µs/token", "{:.1f}"),
    ("one_way_p99_us", "token p99 µs", "{:.0f}"),
    ("idle_mb", "idle MB", "{:.0f}"),
    ("held_mb", "4k streams MB", "{:.0f}"),
    ("failed", "failed", "{:.0f}"),
)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The figures, one gateway a line."""
    lines = [f"{'gateway':18s}" + "".join(f"{title:>14s}" for __, title, __ in COLUMNS)]
    for name, row in rows.items():
        if "skipped" in row:
            lines.append(f"{name:18s}  skipped: {row['skipped']}")
            continue
        cells = (style.format(row[key]) if key in row else "-" for key, __, style in COLUMNS)
        lines.append(f"{name:18s}" + "".join(f"{cell:>14s}" for cell in cells))
    return "\n".join(lines)


def goals(rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float | None, str, float, float]]:
    """(what, the figure, at least or at most, the floor, the aim) of the issue's goals."""
    ours = rows.get("ours", {})

    def ratio(peer: str, key: str, base: float = 0.0) -> float | None:
        other = rows.get(peer, {})
        if key not in ours or key not in other or other[key] - base <= 0:
            return None
        return float((ours[key] - base) / (other[key] - base))

    direct = rows.get("direct", {}).get("c1_p50_us", 0.0)
    yield "req/s against vllm-router (Rust)", ratio("vllm-router", "c64_rps"), ">=", 1.8, 1.8
    yield "req/s against Envoy", ratio("envoy", "c64_rps"), ">=", 1.3, 1.3
    yield "req/s against nginx", ratio("nginx", "c64_rps"), ">=", 0.45, 0.6
    yield "req/s against nginx, 8 kB prompts", ratio("nginx", "c64_8k_rps"), ">=", 0.45, 0.6
    yield "req/s against nginx, 100 kB prompts", ratio("nginx", "c64_100k_rps"), ">=", 0.45, 0.6
    yield "CPU per streamed token against nginx", ratio("nginx", "token_cpu_us"), "<=", 1.5, 1.2
    yield "latency at one connection against nginx", ratio("nginx", "c1_p50_us"), "<=", 1.5, 1.5
    yield "added latency at one connection against nginx", ratio("nginx", "c1_p50_us", direct), "<=", 1.5, 1.5
    yield "req/s against production-stack's router", ratio("production-stack", "c64_rps"), ">=", 20, 20
    yield "req/s against LiteLLM", ratio("litellm", "c64_rps"), ">=", 200, 200
    yield "idle memory, MB", ours.get("idle_mb"), "<=", 60, 60
    yield "memory with 4 000 streams, MB", ours.get("held_mb"), "<=", 200, 200
    yield "failed requests", ours.get("failed"), "<=", 0, 0


def verdicts(found: Iterator[tuple[str, float | None, str, float, float]]) -> tuple[str, bool]:
    """A line for each goal, and whether all that could be measured are reached."""
    lines, good = [], True
    for what, value, sense, floor, aim in found:
        if value is None:
            lines.append(f"  ?  {what}: not measured")
            continue
        met = value >= floor if sense == ">=" else value <= floor
        beyond = aim != floor and (value >= aim if sense == ">=" else value <= aim)
        good = good and met
        mark = "ok" if met else "NO"
        note = f", the aim of {aim:g} too" if beyond else f" (aim {aim:g})" if aim != floor else ""
        lines.append(f"  {mark} {what}: {value:.3g} (wanted {sense} {floor:g}{note})")
    return "\n".join(lines), good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="windows of each kind (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window (default 2)")
    parser.add_argument("--only", default=",".join(peer.name for peer in PEERS), help="gateways to measure, by commas")
    parser.add_argument("--no-growth", action="store_true", help="without the growth run")
    parser.add_argument(
        "--leak", type=int, default=0, metavar="N", help="also send N requests and watch memory (issue: 1000000)"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    chosen = parser.parse_args()
    names = chosen.only.split(",")
    results: dict[str, Any] = {}
    try:
        with alone(), tempfile.TemporaryDirectory(prefix="bench-gateway-") as scratch:
            folder = Path(scratch)
            rows = compare(names, chosen.rounds, chosen.seconds, folder)
            results["compare"] = rows
            sys.stdout.write(f"{table(rows)}\n\n")
            found = list(goals(rows))
            if not chosen.no_growth:
                results["growth"] = growth.run(folder, chosen.rounds, chosen.seconds)
                results["growth_of_peers"] = growth.run_peers(names, folder, chosen.rounds, chosen.seconds)
                found += growth.goals(results["growth"], results["growth_of_peers"])
            if chosen.leak:
                results["leak"] = leak.run(folder, chosen.leak)
                found += leak.goals(results["leak"])
    except machine.Unavailable as why:
        say(str(why))
        return 2
    text, good = verdicts(iter(found))
    sys.stdout.write(f"Goals\n{text}\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
