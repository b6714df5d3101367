# SPDX-License-Identifier: Apache-2.0
"""What a simulation found, as one page of HTML with its drawings in it, and as a table for the terminal."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from llm_gateway.simulation.run import Installation, Result

COLOURS = ("#2563eb", "#d97706", "#0d9488", "#dc2626", "#7c3aed", "#64748b")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 620, 300, 60, 16, 14, 40


def table(results: Sequence[Result]) -> str:
    """One line a policy."""
    head = f"{'policy':18s}{'TTFT p50':>10s}{'p90':>10s}{'p99':>10s}{'prefix hits':>13s}{'busiest/mean':>14s}{'refused':>9s}{'µs a choice':>13s}"
    lines = [head]
    for result in results:
        ttft = "".join(f"{seconds(result.ttft(share)):>10s}" for share in (0.5, 0.9, 0.99))
        lines.append(
            f"{result.policy:18s}{ttft}{result.hit_ratio:>12.1%} {result.imbalance:>13.2f}{result.refused:>9d}{result.pick_us:>13.1f}"
        )
    return "\n".join(lines) + "\n"


def seconds(value: float) -> str:
    """A duration with three digits."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _frame(
    title: str, x_title: str, marks: Sequence[tuple[float, str]], levels: Sequence[tuple[float, str]]
) -> list[str]:
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for y, text in levels:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{html.escape(text)}</text>')
    for x, text in marks:
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{html.escape(text)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{html.escape(x_title)}</text>'
    )
    return parts


def _lines(
    title: str,
    x_title: str,
    curves: Sequence[Sequence[tuple[float, float]]],
    x: Callable[[float], float],
    y: Callable[[float], float],
    marks: Sequence[tuple[float, str]],
    levels: Sequence[tuple[float, str]],
) -> str:
    parts = _frame(title, x_title, marks, levels)
    for number, curve in enumerate(curves):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve)
        parts.append(f'<polyline points="{points}" stroke="{COLOURS[number % len(COLOURS)]}"/>')
    return "".join([*parts, "</svg>"])


def _y(value: float, top: float) -> float:
    return TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)


def ttft_drawing(results: Sequence[Result]) -> str:
    """Which share of requests had its first token within which time."""
    lowest = max(1e-3, min(result.ttft(0.005) for result in results))
    highest = max(lowest * 10, *(result.ttft(0.999) for result in results))
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))

    def x(value: float) -> float:
        position = (math.log10(max(value, 10**low)) - low) / (high - low)
        return LEFT + min(1.0, position) * (WIDTH - LEFT - RIGHT)

    shares = [step / 200 for step in range(200)] + [0.999]
    curves = [[(result.ttft(share), share) for share in shares] for result in results]
    marks = [(x(10.0**power), seconds(10.0**power)) for power in range(low, high + 1)]
    levels = [(_y(share, 1.0), f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1.0)]
    return _lines("Time to first token", "time to first token", curves, x, lambda share: _y(share, 1.0), marks, levels)


def load_drawing(results: Sequence[Result]) -> str:
    """Work of each engine against the mean, the busiest first."""
    curves = []
    for result in results:
        mean = sum(result.busy_s) / len(result.busy_s) or 1.0
        work = sorted((busy / mean for busy in result.busy_s), reverse=True)
        step = max(1, len(work) // 200)
        curves.append([(number / len(work), value) for number, value in list(enumerate(work))[::step]])
    top = math.ceil(max(curve[0][1] for curve in curves) * 2) / 2

    def x(value: float) -> float:
        return LEFT + value * (WIDTH - LEFT - RIGHT)

    marks = [(x(share), f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    levels = [(_y(top * share, top), f"{top * share:.3g}") for share in (0, 0.5, 1)]
    return _lines("Load", "engines, the busiest first", curves, x, lambda value: _y(value, top), marks, levels)


def hits_drawing(results: Sequence[Result]) -> str:
    """Prompt tokens that were in a cache."""
    parts = _frame("Prefix hits", "", [], [(_y(share, 1.0), f"{share:.0%}") for share in (0, 0.5, 1.0)])
    room = (WIDTH - LEFT - RIGHT) / len(results)
    for number, result in enumerate(results):
        left, top = LEFT + number * room + room * 0.2, _y(result.hit_ratio, 1.0)
        colour = COLOURS[number % len(COLOURS)]
        height = HEIGHT - BOTTOM - top
        middle = left + room * 0.3
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{room * 0.6:.1f}" height="{height:.1f}" rx="3" fill="{colour}"/>'
        )
        parts.append(
            f'<text class="axis" x="{middle:.1f}" y="{top - 5:.1f}" text-anchor="middle">{result.hit_ratio:.0%}</text>'
        )
        parts.append(
            f'<text x="{middle:.1f}" y="{HEIGHT - 22}" text-anchor="middle">{html.escape(result.policy)}</text>'
        )
    return "".join([*parts, "</svg>"])


STYLE = """
:root { color-scheme: light dark; --ink: #16202e; --soft: #5d6b7e; --paper: #f6f7f9; --card: #fff; --line: #e2e7ee;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ecf3; --soft: #93a1b5; --paper: #0e131a; --card: #171e28; --line: #263140; } }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem; background: var(--paper); color: var(--ink); }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0 0 .6rem; } p { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: 1rem 1.2rem; }
.wide { grid-column: 1 / -1; overflow-x: auto; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 15px; } svg .axis { fill: var(--ink); }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; } .grid { stroke: var(--line); }
.legend span { margin-right: 1.2rem; white-space: nowrap; }
.legend i { display: inline-block; width: 1rem; height: .3rem; border-radius: .15rem; margin-right: .4rem; vertical-align: .2em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; white-space: nowrap; padding: .4rem .8rem; border-bottom: 1px solid var(--line); }
th { font-weight: 500; color: var(--soft); } th:first-child, td:first-child { text-align: left; }
"""


def page(results: Sequence[Result], installation: Installation, what: str) -> str:
    """The report: one file, nothing loaded from anywhere."""
    legend = "".join(
        f'<span><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{html.escape(result.policy)}</span>'
        for number, result in enumerate(results)
    )
    rows = "".join(
        f"<tr><td>{html.escape(one.policy)}</td>"
        + "".join(f"<td>{seconds(one.ttft(share))}</td>" for share in (0.5, 0.9, 0.99))
        + f"<td>{one.hit_ratio:.1%}</td><td>{one.imbalance:.2f}</td><td>{one.refused}</td><td>{one.pick_us:.1f}</td></tr>"
        for one in results
    )
    heads = "".join(
        f"<th>{each}</th>"
        for each in ("Policy", "TTFT p50", "p90", "p99", "Prefix hits", "Busiest / mean", "Refused", "µs a choice")
    )
    drawings = "".join(
        f'<div class="card"><h2>{title}</h2>{drawing}</div>'
        for title, drawing in (
            ("Requests with their first token within", ttft_drawing(results)),
            ("Prompt tokens found in a cache", hits_drawing(results)),
            ("Work of each engine against the mean", load_drawing(results)),
        )
    )
    gateways = f"{installation.gateways} gateway{'s' if installation.gateways > 1 else ''}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>llm-gateway simulate</title><style>{STYLE}</style>'
        f"<h1>{html.escape(what)}</h1><p>{results[0].requests} requests, {installation.engines} engines, {gateways}; virtual time.</p>"
        f'<p class="legend">{legend}</p><div class="cards">{drawings}'
        f'<div class="card wide"><h2>Figures</h2><table><tr>{heads}</tr>{rows}</table></div></div></html>\n'
    )
