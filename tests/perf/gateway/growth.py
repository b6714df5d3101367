# SPDX-License-Identifier: Apache-2.0
"""Does a large installation cost more per request? 400 engines, 100 000 keys, 1 000 models and 2 000 endpoint changes a minute, beside
4 engines, 10 keys, one model and silence: the same windows, in turns. All keys have been met before; what the first request of a key costs is a
figure of its own.

Beside it, what 400 engines in place of 4 cost proxies that know nothing of keys and models: Envoy, and nginx, which looks through its servers and
idle connections one by one."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import machine
from measure import Running, engines, launch, launched, load, middle, per, port_of, window
from peers import PEERS, features, ours_command, ours_environment

FIRST_LIMIT_S = 60.0
PROXIES = ("nginx", "envoy")
# A round of the bench is so many turns here, each a third of its time: a slow moment of the machine hits both sizes.
TURNS = 6
SLICE_ENDPOINTS = 100  # what Kubernetes puts into one EndpointSlice


@dataclass(frozen=True)
class Size:
    """One installation."""

    name: str
    engines: int
    keys: int
    models: int
    changes_per_minute: int


SMALL = Size("small", 4, 10, 1, 0)
LARGE = Size("large", 400, 100_000, 1000, 2000)


class Cluster:
    """The EndpointSlices of one namespace, behind the two calls that the gateway makes; each change turns one engine's readiness."""

    def __init__(self, count: int, port: int) -> None:
        self._lock = threading.Condition()
        self._version = 1
        self._port = port
        self._ready = [True] * count
        self._events: list[tuple[int, bytes]] = []
        self._count = count
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._stopped = threading.Event()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def slices(self) -> list[dict[str, Any]]:
        return [self._slice(number) for number in range(-(-self._count // SLICE_ENDPOINTS))]

    def _slice(self, number: int) -> dict[str, Any]:
        first = number * SLICE_ENDPOINTS
        endpoints = [
            {
                "addresses": [f"127.1.{engine // 250}.{engine % 250 + 1}"],
                "conditions": {"ready": self._ready[engine], "serving": self._ready[engine], "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": "llm-engines", "name": f"engine-{engine}"},
                "nodeName": f"node-{engine // 8}",
                "zone": "eu-central-1a",
            }
            for engine in range(first, min(first + SLICE_ENDPOINTS, self._count))
        ]
        return {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": f"engines-{number}",
                "namespace": "llm-engines",
                "resourceVersion": str(self._version),
                "labels": {"llm.on-eks/engine": "vllm"},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": self._port, "protocol": "TCP"}],
        }

    def listing(self) -> bytes:
        with self._lock:
            document = {
                "kind": "EndpointSliceList",
                "metadata": {"resourceVersion": str(self._version)},
                "items": self.slices(),
            }
        return json.dumps(document).encode()

    def events_after(self, version: int) -> list[tuple[int, bytes]]:
        with self._lock:
            self._lock.wait_for(lambda: self._version > version or self._stopped.is_set(), 5)
            return [event for event in self._events if event[0] > version]

    def churn(self, per_minute: int) -> None:
        """Change endpoints at this rate until `stop`."""

        def work() -> None:
            chance = random.Random(1)
            due = time.monotonic()
            while not self._stopped.is_set():
                due += 60 / per_minute
                with self._lock:
                    # A model stands at four neighbours; one of four may turn unready, so that every model can always answer.
                    engine = chance.randrange(0, self._count, 4)
                    self._ready[engine] = not self._ready[engine]
                    self._version += 1
                    event = {"type": "MODIFIED", "object": self._slice(engine // SLICE_ENDPOINTS)}
                    self._events.append((self._version, json.dumps(event).encode() + b"\n"))
                    del self._events[:-500]
                    self._lock.notify_all()
                self._stopped.wait(max(0.0, due - time.monotonic()))

        threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            self._lock.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *__: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        if "watch=1" not in self.path:
            body = self.cluster.listing()
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        version = int(self.path.partition("resourceVersion=")[2].partition("&")[0] or 0)
        try:
            while not self.cluster.stopped:
                for reached, line in self.cluster.events_after(version):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                    version = reached
        except OSError:
            self.close_connection = True


def _start(size: Size, port_of_engines: int, folder: Path) -> tuple[Running, Cluster]:
    cluster = Cluster(size.engines, port_of_engines)
    port = machine.free_port()
    token = folder / "token"
    token.write_text("bench")
    kubernetes = {"kubernetes": "true", "kubernetes_api": cluster.url, "kubernetes_token_file": str(token)}
    options = features(folder, size.keys) | kubernetes | {"access_log": str(folder / f"{size.name}.access.log")}
    return launched(
        size.name, ours_command(port, options), port, folder, "/readyz", ours_environment(), size.keys
    ), cluster


def _first_requests(gateway: Running, size: Size) -> float:
    """Requests per CPU second while each key comes once, in turn."""
    cpu = machine.cpu_s(gateway.pids)
    seen = load(
        gateway.port,
        64,
        FIRST_LIMIT_S,
        keys=size.keys,
        models=size.models,
        vary="turn",
        requests=max(size.keys, 10_000),
    )
    return float(seen["done"] / (machine.cpu_s(gateway.pids) - cpu))


def run(folder: Path, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Figures of both installations."""
    samples: dict[str, list[dict[str, float]]] = {SMALL.name: [], LARGE.name: []}
    memory = {}
    first = {}
    with (
        machine.on_load_core(),
        engines(SMALL.engines, folder, str(SMALL.models), "spread") as few,
        engines(LARGE.engines, folder, str(LARGE.models), "spread") as many,
    ):
        up: list[tuple[Size, Running, Cluster]] = []
        try:
            for size, addresses in ((SMALL, few), (LARGE, many)):
                up.append((size, *_start(size, port_of(addresses[0]), folder)))
            for size, gateway, cluster in up:
                time.sleep(6)  # probes learn the models of all engines
                if size.changes_per_minute:
                    cluster.churn(size.changes_per_minute)
                # The engines' connections stand after this; then each key comes once, and the windows find them all known.
                window(gateway, 64, seconds, models=size.models, vary="request")
                first[size.name] = _first_requests(gateway, size)
                memory[size.name] = machine.memory_mb(gateway.pids)
            for __ in range(rounds * TURNS):
                for size, gateway, _cluster in up:
                    taken = window(gateway, 64, seconds / 3, models=size.models, vary="request")
                    samples[size.name].append(taken)
        finally:
            for _size, gateway, cluster in up:
                machine.stop(gateway.process)
                cluster.stop()
    return {
        name: {
            "rps": middle(taken, "rps"),
            "per_cpu_s": per(taken, "done", "cpu_s"),
            "failed": sum(each["errors"] + each["not_200"] for each in taken),
            "first_per_cpu_s": first[name],
            "memory_mb": memory[name],
        }
        for name, taken in samples.items()
    }


def run_peers(names: Sequence[str], folder: Path, rounds: int, seconds: float) -> dict[str, float]:
    """For each proxy among `names` that can be had: requests per CPU second before 400 engines, divided by those before 4."""
    samples: dict[tuple[str, str], list[dict[str, float]]] = {}
    up: dict[tuple[str, str], Running] = {}
    with engines(SMALL.engines, folder, "0", "spread") as few, engines(LARGE.engines, folder, "0", "spread") as many:
        try:
            for peer in PEERS:
                if peer.name not in PROXIES or peer.name not in names:
                    continue
                for size, addresses in ((SMALL, few), (LARGE, many)):
                    own = folder / f"{peer.name}-{size.name}"
                    own.mkdir()
                    with contextlib.suppress(machine.Unavailable):  # the table says so already
                        up[peer.name, size.name] = launch(peer, addresses, own)
            for proxy in up.values():
                window(proxy, 64, seconds)  # the engines' connections stand after this
            for __ in range(rounds):
                for name, proxy in up.items():
                    samples.setdefault(name, []).append(window(proxy, 64, seconds))
        finally:
            for proxy in up.values():
                machine.stop(proxy.process)
    return {
        name: per(samples[name, LARGE.name], "done", "cpu_s") / per(samples[name, SMALL.name], "done", "cpu_s")
        for name in PROXIES
        if (name, SMALL.name) in samples
    }


def goals(
    found: dict[str, dict[str, float]], of_peers: dict[str, float]
) -> Iterator[tuple[str, float | None, str, float, float]]:
    """See bench.goals."""
    small, large = found[SMALL.name], found[LARGE.name]
    # What the first request of a key costs is shown; the goal is about an installation that runs.
    sizes = (
        ("req/s", "rps", 0.9),
        ("req/CPU-s", "per_cpu_s", 0.9),
        ("first requests of keys/CPU-s", "first_per_cpu_s", 0.0),
    )
    for title, key, floor in sizes:
        yield (
            f"growth, {title} of {LARGE.engines} engines, {LARGE.keys} keys … against {SMALL.engines} and {SMALL.keys}",
            large[key] / small[key],
            ">=",
            floor,
            floor,
        )
    # Shown for comparison; there is no goal in them.
    for name in PROXIES:
        title = f"growth, req/CPU-s of {name} before {LARGE.engines} engines against {SMALL.engines}, without keys and models"
        yield title, of_peers.get(name), ">=", 0, 0
    yield "growth, failed requests", large["failed"] + small["failed"], "<=", 0, 0
