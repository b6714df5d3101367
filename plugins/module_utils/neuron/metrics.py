# SPDX-License-Identifier: Apache-2.0
"""Hits, misses and seconds of compilations, counted beside the artifacts: a Job ends before anybody scrapes it.

ROOT/.metrics/MODEL.BACKEND.json; one Job at a time writes a file.
"""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_FOLDER = ".metrics"
_HELP = {
    "hits_total": ("counter", "Compilations that were not needed, because the artifacts were there."),
    "misses_total": ("counter", "Compilations that were needed."),
    "failures_total": ("counter", "Compilations that failed."),
    "compile_seconds_total": ("counter", "Seconds that successful compilations took."),
}


@dataclass
class Counts:
    hits_total: int = 0
    misses_total: int = 0
    failures_total: int = 0
    compile_seconds_total: float = 0.0


def count(
    root: Path, model: str, backend: str, *, hit: bool = False, failed: bool = False, seconds: float = 0.0
) -> None:
    """Add one look, one failure or one compilation of `seconds`."""
    file = root / _FOLDER / f"{model}.{backend}.json"
    counts = _read(file)
    counts.hits_total += hit
    counts.failures_total += failed
    counts.misses_total += not hit and not failed
    counts.compile_seconds_total = round(counts.compile_seconds_total + seconds, 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(counts)), encoding="utf-8")
    part.replace(file)


def serve(root: Path, port: int) -> None:
    """Answer /metrics with `text`, until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in ("/metrics", "/healthz")
            body = text(root).encode() if found else b"there is /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *__: object) -> None:
            """Probes and scrapes are no news."""

    with ThreadingHTTPServer(("", port), Handler) as server:
        signal.signal(signal.SIGTERM, lambda *__: threading.Thread(target=server.shutdown).start())
        server.serve_forever()


def text(root: Path) -> str:
    """All counts in Prometheus' text format."""
    known = {file.stem: _read(file) for file in sorted((root / _FOLDER).glob("*.json"))}
    lines: list[str] = []
    for name, (kind, said) in _HELP.items():
        metric = f"neuron_artifacts_{name}"
        lines += [f"# HELP {metric} {said}", f"# TYPE {metric} {kind}"]
        for stem, counts in known.items():
            model, __, backend = stem.rpartition(".")
            lines.append(f'{metric}{{model="{model}",backend="{backend}"}} {getattr(counts, name)}')
    return "\n".join(lines) + "\n"


def _read(file: Path) -> Counts:
    try:
        return Counts(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Counts()
