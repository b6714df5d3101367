# SPDX-License-Identifier: Apache-2.0
"""The simulations that docs/scaling.md rests on: run it (or some of: policies gateways limits sizes) to see whether they
still hold. Prints Markdown tables, draws docs/scaling-*.svg."""

from __future__ import annotations

import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO / "gateway" / "src"))

from llm_gateway.callers.limits import Rules  # noqa: E402
from llm_gateway.engines.routing import POLICIES  # noqa: E402  the path above makes it importable
from llm_gateway.simulation.report import STYLE, load_drawing, seconds, ttft_drawing  # noqa: E402
from llm_gateway.simulation.run import Installation, Result, simulate  # noqa: E402
from llm_gateway.simulation.trace import Asked, synthetic  # noqa: E402

SEED = 1


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def cells(*values: object) -> str:
    return "| " + " | ".join(str(value) for value in values) + " |"


def figures(result: Result) -> tuple[str, ...]:
    return (
        seconds(result.ttft(0.5)),
        seconds(result.ttft(0.9)),
        seconds(result.ttft(0.99)),
        f"{result.hit_ratio:.0%}",
        f"{result.imbalance:.2f}",
    )


def draw(name: str, drawing: str) -> None:
    style = STYLE.partition("svg {")[2]
    inner = "svg {" + style.partition(".legend")[0]
    colours = "svg { --ink: #16202e; --soft: #5d6b7e; --line: #e2e7ee; background: #fff; font-family: sans-serif; } "
    text = drawing.replace(">", f"><style>{colours}{inner}</style>", 1)
    (REPO / "docs" / name).write_text(text + "\n", encoding="utf-8")


def policies() -> None:
    say("## Policies, one gateway, 100 engines\n")
    for workload, rate in (("conversations", 170.0), ("agents", 55.0), ("independent", 250.0)):
        asked = synthetic(workload, rate, 120, SEED)
        results = [simulate(asked, name, Installation(engines=100)) for name in POLICIES]
        say(f"{workload}, {rate:g} requests a second ({len(asked)} requests)\n")
        say(cells("policy", "TTFT p50", "p90", "p99", "prefix hits", "busiest / mean"))
        say(cells(*["---"] * 6))
        for result in results:
            say(cells(f"`{result.policy}`", *figures(result)))
        say("")
        draw(f"scaling-ttft-{workload}.svg", ttft_drawing(results))
        if workload == "conversations":
            draw("scaling-load.svg", load_drawing(results))


def gateways() -> None:
    say("## Gateways that know nothing of each other, 100 engines, conversations\n")
    asked = synthetic("conversations", 170, 120, SEED)
    say(cells("policy", "gateways", "TTFT p50", "p90", "p99", "prefix hits", "busiest / mean"))
    say(cells(*["---"] * 7))
    for policy in ("least-in-flight", "power-of-two", "prefix", "session"):
        for count in (1, 2, 4, 8, 16, 32):
            say(
                cells(
                    f"`{policy}`", count, *figures(simulate(asked, policy, Installation(engines=100, gateways=count)))
                )
            )
    say("")


def limits() -> None:
    say("## One key's limit of 600 requests a minute, asked 1 000 a minute for five minutes\n")
    asked = [Asked(number * 0.06, 100, 20, key="k") for number in range(5000)]
    say(cells("gateways", "divided", "with Redis"))
    say(cells(*["---"] * 3))
    for count in (1, 2, 4, 8, 16, 32):
        found = []
        for shared in (False, True):
            installation = Installation(engines=50, gateways=count, limit=Rules(requests=600), shared_limits=shared)
            found.append(simulate(asked, "power-of-two", installation).admitted_by_key["k"] / 5)
        say(cells(count, *(f"{each:.0f} a minute" for each in found)))
    say("")


def sizes() -> None:
    say("## The cost of one choice by the number of engines of a model (microseconds, this machine)\n")
    counts = (10, 100, 1000, 10_000)
    say(cells("policy", *(f"{count:,}".replace(",", " ") for count in counts)))
    say(cells(*["---"] * (len(counts) + 1)))
    results: dict[str, list[Result]] = {name: [] for name in POLICIES}
    for count in counts:
        # As busy as in the tables above, for as many requests as are needed to see it.
        asked = synthetic("conversations", 1.7 * count, max(10.0, min(120.0, 3_000 / count)), SEED)[
            : 3_000 if count < 10_000 else 800
        ]
        for name in POLICIES:
            results[name].append(simulate(asked, name, Installation(engines=count)))
    for name, found in results.items():
        say(cells(f"`{name}`", *(f"{result.pick_us:.1f}" for result in found)))
    say("")


if __name__ == "__main__":
    parts = {part.__name__: part for part in (policies, gateways, limits, sizes)}
    for name in sys.argv[1:] or parts:
        parts[name]()
