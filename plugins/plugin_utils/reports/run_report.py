# SPDX-License-Identifier: Apache-2.0
"""The report of a run as one HTML page: the graph over time with its critical path, all actions, and all notes."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from pathlib import Path

from ...module_utils.files import write_whole
from ..run.result import Result
from ..run.scheduler import Done

_ROW = 20
_LEFT = 360
_WIDTH = 1180
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#68707a;--line:#d7dce1;--bar:#8fb4d9;--hot:#d9663a;--bad:#c62f3b;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#98a2ad;--line:#363c44;--bar:#4f7fae;--hot:#e0804f;--bad:#ff6b74;--paper:#15181c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1220px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p.sub{color:var(--soft);margin:.2rem 0 1.5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.num{text-align:right;font-variant-numeric:tabular-nums}code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .soft{fill:var(--soft)}
svg .bar{fill:var(--bar)}svg .hot{fill:var(--hot)}svg .bad{fill:var(--bad)}svg .grid{stroke:var(--line)}svg .edge{stroke:var(--hot);fill:none}
.bad{color:var(--bad)}details{margin:.2rem 0}
"""


def write(run: Result, file: Path) -> None:
    """Write the page atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page(run))


def page(run: Result) -> str:
    """One file that needs nothing else."""
    failed = sum(1 for node in run.nodes if node.state == "failed")
    summary = (
        f"{run.seconds:.1f} s, {len(run.components)} components, {len(run.nodes)} nodes, {len(run.actions)} changes"
        + (f", {failed} failed" if failed else "")
    )
    path = critical_path(run.nodes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Run: {html.escape(summary)}</title>'
        f"<style>{_STYLE}</style><h1>Run</h1><p class=sub>{html.escape(summary)}</p>"
        f"<h2>The graph over time</h2>{_timeline(run.nodes, path)}"
        f"<h2>Critical path</h2>{_path_table(run.nodes, path)}"
        f"<h2>Components</h2>{_component_table(run)}</html>\n"
    )


def critical_path(nodes: Sequence[Done]) -> list[int]:
    """Indices of the critical path: from the last node backwards, each time to the predecessor that ended last."""
    by_index = {node.index: node for node in nodes if node.state != "cancelled"}
    if not by_index:
        return []
    here: Done | None = max(by_index.values(), key=lambda node: node.started + node.seconds)
    path: list[int] = []
    while here is not None:
        path.append(here.index)
        befores = [by_index[index] for index in here.after if index in by_index]
        here = max(befores, key=lambda node: node.started + node.seconds, default=None)
    return list(reversed(path))


def _timeline(nodes: Sequence[Done], path: Sequence[int]) -> str:
    shown = sorted((node for node in nodes if node.state != "cancelled"), key=lambda node: (node.started, node.index))
    total = max([node.started + node.seconds for node in shown] or [0.1]) or 0.1
    scale = (_WIDTH - _LEFT - 60) / total
    height = _ROW * len(shown) + 40
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="nodes over time">']
    for step in range(5):
        x = _LEFT + (_WIDTH - _LEFT - 60) * step / 4
        parts.append(f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="20" y2="{height - 8}"/>')
        parts.append(f'<text class="soft" x="{x:.0f}" y="13" text-anchor="middle">{total * step / 4:.1f} s</text>')
    places = {node.index: 30 + _ROW * row for row, node in enumerate(shown)}
    by_index = {node.index: node for node in shown}
    for node in shown:
        y, x = places[node.index], _LEFT + node.started * scale
        kind = "bad" if node.state == "failed" else ("hot" if node.index in path else "bar")
        label = f"{node.component}  {node.node}"
        label = label if len(label) <= 52 else label[:51] + "…"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 9}" text-anchor="end">{html.escape(label)}</text>')
        parts.append(
            f'<rect class="{kind}" rx="2" x="{x:.1f}" y="{y}" width="{max(1.5, node.seconds * scale):.1f}" height="12">'
            f"<title>{html.escape(label)}: {node.seconds:.2f} s</title></rect>"
        )
        parts.append(
            f'<text class="soft" x="{x + max(1.5, node.seconds * scale) + 5:.1f}" y="{y + 10}">{node.seconds:.1f}</text>'
        )
    for before, after in itertools.pairwise(path):
        first, second = by_index[before], by_index[after]
        x1, y1 = _LEFT + (first.started + first.seconds) * scale, places[before] + 6
        x2, y2 = _LEFT + second.started * scale, places[after] + 6
        parts.append(f'<path class="edge" d="M{x1:.1f} {y1} H{max(x1, x2) + 3:.1f} V{y2} H{x2:.1f}"/>')
    return "".join([*parts, "</svg>"])


def _path_table(nodes: Sequence[Done], path: Sequence[int]) -> str:
    by_index = {node.index: node for node in nodes}
    rows = "".join(
        f"<tr><td>{html.escape(by_index[index].component)}<td>{html.escape(by_index[index].node)}"
        f"<td class=num>{by_index[index].seconds:.2f} s"
        for index in path
    )
    return f"<table><tr><th>component<th>node<th>time{rows}</table>"


def _component_table(run: Result) -> str:
    rows = []
    for name, component in run.components.items():
        said = [
            f"<details><summary>{html.escape(action.verb)} <code>{html.escape(action.subject)}</code> {_meaning(action.disruption)}"
            f"</summary>{'<br>'.join(f'<code>{html.escape(run.masker.text(str(change)))}</code>' for change in action.changes)}"
            "</details>"
            for action in component.actions
        ]
        said += [f"<div>{html.escape(run.masker.text(note))}</div>" for note in component.notes]
        said += [f"<div class=bad>{html.escape(error)}</div>" for error in component.errors]
        if component.cancelled:
            said.append(f"<div class=bad>cancelled: {html.escape(component.cancelled)}</div>")
        rows.append(
            f"<tr><td>{html.escape(name)}<td>{component.state}<td>{''.join(said) or 'unchanged'}<td class=num>{component.seconds:.1f} s"
        )
    return f"<table><tr><th>component<th>state<th>what<th>done at{''.join(rows)}</table>"


def _meaning(disruption: str) -> str:
    return "" if disruption == "none" else f"({disruption})"
