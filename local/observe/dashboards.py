# SPDX-License-Identifier: Apache-2.0
"""Grafana's dashboards on one page of our own, for machines where Grafana cannot be had: the same documents, the same queries, plots as SVG.

usage: dashboards.py FOLDER PROMETHEUS_URL [PORT]    FOLDER has one Grafana dashboard (JSON) in each *.json file

It needs Python's standard library and loads nothing from elsewhere. A page is drawn at most once in `CACHED_S`, whoever asks.
"""

from __future__ import annotations

import html
import json
import math
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CACHED_S = 10.0
TIMEOUT_S = 10
RANGES = {"15m": 900, "1h": 3600, "3h": 10800, "12h": 43200}
POINTS = 120
MOST_SERIES = 10
# The order in which they are shown; others follow.
ORDER = ("gateway", "engines", "cost", "nodes", "accelerators")
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "cache-control": "no-cache",
}


class NoAnswer(Exception):
    """Prometheus does not answer; the text says why."""


@dataclass(frozen=True)
class Line:
    """One series: its legend, and (seconds since the epoch, value) in order of time."""

    legend: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """A panel with what Prometheus has for it. `unknown`: metrics of its queries that come from a system that is not here."""

    title: str
    about: str
    unit: str
    lines: list[Line]
    unknown: list[str]


class Prometheus:
    """Prometheus' HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/). Raises NoAnswer."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def get(self, path: str, **query: str) -> Any:
        address = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the address is ours
                return json.load(answer)["data"]
        except (OSError, ValueError, KeyError) as error:
            raise NoAnswer(f"Prometheus at {self._url} does not answer: {getattr(error, 'reason', error)}") from None

    def lines(self, expression: str, legend: str, end: float, seconds: int) -> list[Line]:
        """The series of a query over the last `seconds`."""
        times = {"start": f"{end - seconds}", "end": f"{end}", "step": f"{seconds / POINTS}"}
        found = self.get("query_range", query=expression, **times)["result"]
        return [
            Line(filled(legend, one["metric"]), [(at, float(value)) for at, value in one["values"]]) for one in found
        ]


def filled(legend: str, labels: dict[str, str]) -> str:
    """Grafana's `{{label}}` with the series' labels."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend).strip() or "all"


def metrics(expression: str) -> list[str]:
    """The names of series in a query."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|without|ignoring)\s*\([^)]*\)", " ", expression)
    return re.findall(r"\b[a-zA-Z_][\w:]*[_:][\w:]*\b(?!\s*\()", bare)


def system(metric: str) -> str:
    """The first word of a metric's name: who it comes from."""
    return re.split("[:_]", metric, maxsplit=1)[0]


def boards(folder: Path) -> list[dict[str, Any]]:
    """Grafana's documents, with `name` from the file."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")}
    order = [name for name in ORDER if name in found] + sorted(set(found) - set(ORDER))
    return [{**found[name], "name": name} for name in order]


def plot(prometheus: Prometheus, panel: dict[str, Any], known: set[str], end: float, seconds: int) -> Plot:
    """Ask what a panel of Grafana asks."""
    targets = panel["targets"]
    asked = [name for target in targets for name in metrics(target["expr"])]
    lines = [
        line
        for target in targets
        for line in prometheus.lines(target["expr"], target.get("legendFormat", ""), end, seconds)
    ]
    here = {system(name) for name in known}
    unknown = list(dict.fromkeys(name for name in asked if system(name) not in here))
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    return Plot(panel["title"], panel.get("description", ""), unit, lines, unknown)


# --- numbers


def _scaled(value: float, base: float, units: Sequence[str]) -> str:
    at = 0
    while abs(value) >= base and at < len(units) - 1:
        value, at = value / base, at + 1
    return f"{_short(value)}{units[at]}"


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value == 0 or abs(value) >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    for least, unit in ((60, "min"), (1, "s"), (1e-3, "ms")):
        if abs(value) >= least:
            return f"{_short(value / {'min': 60, 's': 1, 'ms': 1e-3}[unit])} {unit}"
    return f"{_short(value * 1e6)} µs" if value else "0 s"


# Grafana's unit -> a number with it.
UNITS: dict[str, Callable[[float], str]] = {
    "short": lambda value: _scaled(value, 1000, ("", " k", " M", " G")),
    "reqps": lambda value: f"{_short(value)}/s",
    "percentunit": lambda value: f"{_short(100 * value)} %",
    "percent": lambda value: f"{_short(value)} %",
    "s": _seconds,
    "bytes": lambda value: _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB")),
    "cores": lambda value: f"{_short(value)} cores",
    "celsius": lambda value: f"{_short(value)} °C",
    "watt": lambda value: f"{_short(value)} W",
    "currencyUSD": lambda value: f"{_short(value)} USD",
}


def shown(value: float, unit: str) -> str:
    """A number for people."""
    return UNITS.get(unit, UNITS["short"])(value) if math.isfinite(value) else "no number"


def ceiling(value: float) -> float:
    """The end of an axis: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999) if value > 0 else 1.0


# --- drawing: a plot is 400 by 150 units, with its axes' words below and at the left

LEFT, RIGHT, TOP, BOTTOM = 64, 394, 10, 126


def svg(lines: Sequence[Line], unit: str, end: float, seconds: int) -> str:
    """The lines over time, with both axes."""
    values = [value for line in lines for __, value in line.points if math.isfinite(value)]
    most = ceiling(max(values, default=0))
    parts = ['<svg viewBox="0 0 400 150" role="img" aria-hidden="true">']
    for share in (0, 0.5, 1):
        y = BOTTOM - share * (BOTTOM - TOP)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.0f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.0f}" text-anchor="end">{shown(share * most, unit)}</text>')
    for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        at = time.strftime("%H:%M", time.gmtime(end - seconds * (1 - share)))
        parts.append(f'<text x="{LEFT + share * (RIGHT - LEFT):.0f}" y="146" text-anchor="{anchor}">{at}</text>')
    for number, line in enumerate(lines):
        parts.append(f'<path class="line c{number}" d="{"".join(_path(line, end, seconds, most))}"/>')
    return "".join(parts) + "</svg>"


def _path(line: Line, end: float, seconds: int, most: float) -> Iterator[str]:
    """A gap where there is no sample, or no number."""
    before = -math.inf
    for at, value in line.points:
        if not math.isfinite(value):
            continue
        x = RIGHT - (end - at) / seconds * (RIGHT - LEFT)
        y = BOTTOM - min(value / most, 1) * (BOTTOM - TOP)
        near = at - before <= 1.5 * seconds / POINTS
        # A point that stands alone is drawn as a dot: a line of no length with round ends.
        yield f"L{x:.1f} {y:.1f}" if near else f"M{x:.1f} {y:.1f}h0"
        before = at


def figure(one: Plot, end: float, seconds: int) -> str:
    """A panel. Without any value it says why."""
    lines = highest(one.lines)
    head = f"<figcaption>{html.escape(one.title)}<small>{html.escape(one.about)}</small></figcaption>"
    if not any(math.isfinite(value) for line in lines for __, value in line.points):
        return f'<figure class="empty">{head}<p>No values in this time: nothing of the kind has happened.</p></figure>'
    rows = "".join(_row(number, line, one.unit) for number, line in enumerate(lines))
    more = f"<p>and {len(one.lines) - len(lines)} lower ones</p>" if len(lines) < len(one.lines) else ""
    drawn = svg(lines, one.unit, end, seconds)
    return f"<figure>{head}{drawn}<table><tr><td><th>now<th>max{rows}</table>{more}</figure>"


def highest(lines: Sequence[Line]) -> list[Line]:
    """At most MOST_SERIES, in the order in which they came: colours stay while values change."""
    kept = sorted(lines, key=lambda line: -line.points[-1][1])[:MOST_SERIES]
    return [line for line in lines if line in kept][:MOST_SERIES]


def _row(number: int, line: Line, unit: str) -> str:
    values = [value for __, value in line.points if math.isfinite(value)]
    now = shown(line.points[-1][1], unit)
    most = shown(max(values, default=math.nan), unit)
    return f'<tr><td><i class="c{number}"></i>{html.escape(line.legend)}<td>{now}<td>{most}'


def section(board: dict[str, Any], plots: Sequence[Plot], end: float, seconds: int) -> str:
    """A dashboard; what nothing here measures is one line at its end."""
    here = [one for one in plots if one.lines or not one.unknown]
    absent = [one for one in plots if one not in here]
    drawn = "".join(figure(one, end, seconds) for one in here)
    listed = "; ".join(f"{html.escape(one.title)} ({html.escape(', '.join(one.unknown))})" for one in absent)
    note = f'<p class="absent">Not measured here: {listed}.</p>' if absent else ""
    return f'<section id="{html.escape(board["name"])}"><h2>{html.escape(board["title"])}</h2><div>{drawn}</div>{note}</section>'


def alerts(found: Sequence[dict[str, Any]]) -> str:
    """Which alerts fire or are about to."""
    if not found:
        return '<p class="good">No alert fires.</p>'
    rows = []
    for one in sorted(found, key=lambda one: (one["state"], one["labels"]["alertname"])):
        name = html.escape(one["labels"]["alertname"])
        book = html.escape(one["annotations"].get("runbook_url", ""), quote=True)
        severity = html.escape(one["labels"].get("severity", ""))
        told = html.escape(one["annotations"].get("summary", ""))
        rows.append(
            f'<tr class="{html.escape(one["state"])}"><td>{html.escape(one["state"])}<td>{severity}<td><a href="{book}">{name}</a><td>{told}'
        )
    return f'<table class="alerts">{"".join(rows)}</table>'


def scraped(targets: Sequence[dict[str, Any]]) -> str:
    """How many targets of each job answer."""
    jobs: dict[str, list[bool]] = {}
    for target in targets:
        jobs.setdefault(target["labels"].get("job", ""), []).append(target["health"] == "up")
    told = " · ".join(f"{html.escape(job)} {sum(up)} of {len(up)}" for job, up in sorted(jobs.items()))
    return f"Scraped: {told}" if told else "Nothing is scraped yet."


def page(prometheus: Prometheus, folder: Path, span: str) -> str:
    """The whole page. Raises NoAnswer."""
    end, seconds = time.time(), RANGES[span]
    known = set(prometheus.get("label/__name__/values"))
    listed = boards(folder)
    with ThreadPoolExecutor(4) as pool:
        made = [
            [pool.submit(plot, prometheus, panel, known, end, seconds) for panel in board["panels"]] for board in listed
        ]
        sections = [
            section(board, [one.result() for one in plots], end, seconds)
            for board, plots in zip(listed, made, strict=True)
        ]
    jump = "".join(f'<a href="#{board["name"]}">{html.escape(board["title"])}</a>' for board in listed)
    spans = "".join(f'<a href="?range={one}"{" aria-current=true" if one == span else ""}>{one}</a>' for one in RANGES)
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(end))
    targets = scraped(prometheus.get("targets", state="active")["activeTargets"])
    return document(
        f'<header><h1>Dashboards</h1><nav>{jump}</nav><nav class="spans">{spans}</nav></header>'
        f'<p class="sub">{at}, again every 30 s. {targets}</p>{alerts(prometheus.get("alerts")["alerts"])}{"".join(sections)}'
    )


STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c646e;--line:#dfe3e8;--paper:#f6f7f9;--card:#fff;--bad:#b3202c;--good:#1d7a3d}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#a0aab5;--line:#343a42;--paper:#111417;--card:#1a1e23;--bad:#ff7b84;--good:#5fc883}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:1500px;padding:0 1rem 3rem}
header{display:flex;flex-wrap:wrap;gap:.3rem 1.5rem;align-items:baseline;position:sticky;top:0;background:var(--paper);padding:.6rem 0;z-index:1}
h1{font-size:1.2rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .6rem}nav{display:flex;flex-wrap:wrap;gap:.2rem .9rem}.spans{margin-left:auto}
a{color:inherit;text-underline-offset:.2em}[aria-current]{font-weight:700;text-decoration:none}.sub,.absent,small{color:var(--soft)}.sub{margin:.2rem 0 .6rem}
section{scroll-margin-top:3.5rem}section>div{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr));gap:.8rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.7rem .8rem;min-width:0}
figcaption{font-weight:600;margin-bottom:.3rem}figcaption small{display:block;font-weight:400}.empty p,figure>p{color:var(--soft);margin:.2rem 0}
svg{width:100%;height:auto;display:block}svg text{font:13px system-ui,sans-serif;fill:var(--soft)}.grid{stroke:var(--line)}
.line{fill:none;stroke:var(--c);stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}
table{border-collapse:collapse;width:100%;font-size:13px}td,th{padding:.1rem .4rem;text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th{font-weight:400;color:var(--soft)}td:first-child{text-align:left;width:100%;white-space:normal;overflow-wrap:anywhere;padding-left:0}
i{display:inline-block;width:.7em;height:.7em;border-radius:2px;background:var(--c);margin-right:.45em}
.alerts td{text-align:left;white-space:normal;width:auto;vertical-align:top}.alerts td:last-child{width:100%}
.firing td:first-child{color:var(--bad);font-weight:700}
.alerts{border:1px solid var(--line);background:var(--card)}.alerts td{padding:.25rem .6rem}.good{color:var(--good)}
.absent{overflow-wrap:anywhere;font-size:13px}
@media(max-width:40rem){header{position:static}section{scroll-margin-top:0}.spans{margin-left:0}}
.c0{--c:#2f6fb3}.c1{--c:#d9662b}.c2{--c:#2d8f57}.c3{--c:#a24bb5}.c4{--c:#b5891a}.c5{--c:#1c99a5}.c6{--c:#c43c62}.c7{--c:#6b7280}.c8{--c:#7a9e2e}.c9{--c:#5b53c6}
"""


def document(body: str) -> str:
    """One file that needs nothing else."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="30"><link rel="icon" href="data:,"><title>Dashboards</title><style>{STYLE}</style>{body}</html>\n'
    )


class Pages:
    """Pages by range, each kept for a while. Whoever comes while one is drawn waits for it."""

    def __init__(self, draw: Callable[[str], str]) -> None:
        self._draw = draw
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, str]] = {}

    def get(self, span: str) -> str:
        with self._lock:
            at, text = self._kept.get(span, (-math.inf, ""))
            if time.monotonic() - at > CACHED_S:
                text = self._draw(span)
                self._kept[span] = (time.monotonic(), text)
            return text


class Handler(BaseHTTPRequestHandler):
    """`/`: the page (`?range=1h`); `/healthz`: whether the server runs."""

    pages: Pages

    def do_GET(self) -> None:
        where = urllib.parse.urlsplit(self.path)
        if where.path == "/healthz":
            return self._reply(200, "ok\n")
        if where.path != "/":
            return self._reply(404, document("<h1>There is one page: <a href='/'>/</a></h1>"))
        span = urllib.parse.parse_qs(where.query).get("range", ["15m"])[0]
        try:
            return self._reply(200, self.pages.get(span if span in RANGES else "15m"))
        except NoAnswer as error:
            return self._reply(502, document(f'<h1>Dashboards</h1><p class="sub">{html.escape(str(error))}</p>'))

    def _reply(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**HEADERS, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nobody reads who looked."""


class Server(ThreadingHTTPServer):
    """Every address of both families."""

    daemon_threads = True


def serve(folder: Path, url: str, port: int, host: str = "") -> Server:
    """A server that is not started yet. `port` 0 takes a free one."""
    prometheus = Prometheus(url)
    pages = Pages(lambda span: page(prometheus, folder, span))
    return Server((host, port), type("Bound", (Handler,), {"pages": pages}))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2], int((sys.argv[3:] or ["8080"])[0])).serve_forever()
