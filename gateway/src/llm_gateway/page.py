# SPDX-License-Identifier: Apache-2.0
"""The page at `/ui`: three files, and what they draw from. The files are for everybody, the figures for admin keys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse, raw

from llm_gateway import __version__
from llm_gateway.errors import forbidden
from llm_gateway.metrics import SECONDS, TOKEN_SECONDS, Gauge, Snapshot
from llm_gateway.upstream.engine import Engine, Health

if TYPE_CHECKING:
    from llm_gateway.gateway import Gateway

FOLDER = Path(__file__).parent / "ui"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
# The page loads nothing but itself, runs nothing that stands in markup, and stands in nobody's frame.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
MAX_KEYS = 100
_SNAPSHOT = msgspec.msgpack.Decoder(Snapshot)


def add_page(app: Sanic[Any, Any], gateway: Gateway) -> None:
    """The page's routes."""
    from llm_gateway.routes import answer, key_of

    contents = {name: (FOLDER / file).read_bytes() for name, (file, _) in FILES.items()}

    @app.get("/ui")
    async def page(_request: Request) -> HTTPResponse:
        return raw(contents[""], content_type=FILES[""][1], headers=HEADERS)

    @app.get("/ui/<name:str>")
    async def file(request: Request, name: str) -> HTTPResponse:
        if name != "state":
            from sanic.exceptions import NotFound

            if not name or name not in FILES:
                raise NotFound(f"Requested URL /ui/{name} not found")
            return raw(contents[name], content_type=FILES[name][1], headers=HEADERS)
        if not key_of(gateway, request).admin:
            raise forbidden("This is no admin key.")
        mine = gateway.metrics.snapshot()
        others = [] if gateway.family is None else await gateway.family.ask("metrics")
        snapshots = [_SNAPSHOT.decode(each) for each in (mine, *others)]
        document = state(snapshots, gateway.metrics.gauges, gateway.registry.engines.values())
        document |= {
            "time": time.time(),
            "version": __version__,
            "workers": len(snapshots),
            "draining": gateway.draining,
        }
        return answer(document, headers={"cache-control": "no-store"})


def state(snapshots: Sequence[Snapshot], gauges: Iterable[Gauge], engines: Iterable[Engine]) -> dict[str, Any]:
    """What the page draws: counts over all processes, by model, engine and key. Pure."""
    gauge = {each.name.removeprefix("llm_gateway_"): _merged(snapshots, each) for each in gauges}
    models: dict[str, dict[str, Any]] = {}

    def model(name: str) -> dict[str, Any]:
        found = models.get(name)
        if found is None:
            found = models[name] = {
                "name": name,
                "requests": 0.0,
                "failed": 0.0,
                "tokens_in": 0.0,
                "tokens_out": 0.0,
                "in_flight": gauge.get("requests_in_flight", {}).get((name,), 0.0),
                "queue": gauge.get("queue_depth", {}).get((name,), 0.0),
                "engines": {
                    word: count for (of, word), count in gauge.get("engines", {}).items() if of == name and count
                },
                "first_token": [0] * (len(SECONDS) + 1),
                "token_gap": [0] * (len(TOKEN_SECONDS) + 1),
            }
        return found

    for name, *_ in gauge.get("engines", {}):
        model(name)
    for snapshot in snapshots:
        counters, histograms = snapshot.counters, snapshot.histograms
        for (name, status, _reason), count in counters.get("llm_gateway_requests_total", ()):
            if name:
                model(name)["requests"] += count
                # What a client did wrong, or took back, is no failure of the platform.
                if status.startswith("5") or status == "429":
                    model(name)["failed"] += count
        for (name, direction), count in counters.get("llm_gateway_tokens_total", ()):
            model(name)["tokens_in" if direction == "prompt" else "tokens_out"] += count
        for family, field in (("time_to_first_token_seconds", "first_token"), ("inter_token_seconds", "token_gap")):
            for name, counts, _total in histograms.get(f"llm_gateway_{family}", ()):
                model(name)[field] = [sum(pair) for pair in zip(model(name)[field], counts, strict=True)]
    in_flight = gauge.get("engine_in_flight", {})
    return {
        "connections": sum(gauge.get("client_connections", {}).values()),
        "bounds": {"first_token": SECONDS, "token_gap": TOKEN_SECONDS},
        "models": [models[name] for name in sorted(models)],
        "engines": [_engine(each, in_flight.get((each.name,))) for each in sorted(engines, key=lambda one: one.name)],
        "keys": _keys(snapshots),
    }


def _merged(snapshots: Sequence[Snapshot], gauge: Gauge) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], list[float]] = {}
    for snapshot in snapshots:
        for labels, value in snapshot.gauges.get(gauge.name, ()):
            found.setdefault(tuple(labels), []).append(value)
    return {labels: gauge.over_workers(values) for labels, values in found.items()}


def _engine(engine: Engine, in_flight: float | None) -> dict[str, Any]:
    word = "not_ready" if not engine.serving else "ejected" if engine.health is Health.OPEN else "ready"
    return {
        "name": engine.name,
        "address": engine.address,
        "kind": engine.kind,
        "models": sorted(engine.models),
        "state": word,
        "in_flight": engine.in_flight if in_flight is None else in_flight,
        "queue": engine.queue_depth,
        "kv_use": round(engine.kv_use, 4),
    }


def _keys(snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for family, field in (("key_requests_total", "requests"), ("key_tokens_total", "tokens")):
        for snapshot in snapshots:
            for (name,), count in snapshot.counters.get(f"llm_gateway_{family}", ()):
                found.setdefault(name, {"name": name, "requests": 0.0, "tokens": 0.0})[field] += count
    return sorted(found.values(), key=lambda key: (-key["tokens"], -key["requests"], key["name"]))[:MAX_KEYS]
