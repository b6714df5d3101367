# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes the real gateway and real llama.cpp engines, as processes on this machine, without a cluster.

Windows and waits of the rules are shortened, so that minutes become seconds; series, labels and expressions are those of the platform.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import rules
from tests.support.described import REPO
from tests.support.serving import asking
from tools.debian import find

FILES = REPO / "roles" / "prometheus" / "files"
PROMETHEUS = find("prometheus")
KEY = "sk-live-metrics"
needs_prometheus = pytest.mark.skipif(
    not PROMETHEUS, reason="prometheus is missing; Debian's package of that name has it"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def soon(expression: str) -> str:
    """The query, with windows of seconds."""
    return re.sub(r"\[(?:5m|10m|15m|30m|1h)\]", "[15s]", expression)


def shortened(**numbers: Any) -> list[dict[str, Any]]:
    """The rules, with seconds for minutes, and `numbers` in the place of the platform's thresholds."""
    usual = yaml.safe_load((FILES / "thresholds.yml").read_text())
    groups = rules.with_numbers(yaml.safe_load((FILES / "rules.yml").read_text()), {**usual, **numbers})
    for group in groups:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = soon(rule["expr"])
            if "for" in rule:
                rule["for"] = "2s"
    return groups


@contextmanager
def running(command: list[Any], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def slowed(process: subprocess.Popen[bytes], stopped: float = 1.0, runs: float = 0.005) -> Iterator[None]:
    """The process runs only now and then, as on a node that is much too busy."""
    end = threading.Event()

    def brake() -> None:
        while not end.is_set():
            process.send_signal(signal.SIGSTOP)
            end.wait(stopped)
            process.send_signal(signal.SIGCONT)
            end.wait(runs)

    thread = threading.Thread(target=brake)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        process.send_signal(signal.SIGCONT)


def answers(url: str) -> bool:
    with suppress(urllib.error.URLError, OSError):
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    return False


class Scene:
    """One Prometheus, one gateway, one engine; each is started by the test and can be stopped."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        groups: list[dict[str, Any]],
        gateway: tuple[str, ...] = (),
        slots: int = 2,
        targets: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """`targets`: HOST:PORT of more engines that are scraped -> labels."""
        self.folder, self.model, self.slots = folder, model, slots
        self.engine_port, self.gateway_port, self.prometheus_port = free_port(), free_port(), free_port()
        self.gateway_options, self.targets = gateway, targets or {}
        self.access_log = folder / "access.log"
        (folder / "keys").mkdir()
        self.add_key("first", KEY)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(self._configuration()))
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}"

    @property
    def prometheus_url(self) -> str:
        return f"http://127.0.0.1:{self.prometheus_port}"

    def add_key(self, name: str, key: str, **more: Any) -> None:
        document = {"sha256": hashlib.sha256(key.encode()).hexdigest(), **more}
        (self.folder / "keys" / name).write_text(json.dumps(document))

    def _configuration(self) -> dict[str, Any]:
        """Targets with the labels that the PodMonitors of role prometheus give them."""
        gateway = {"namespace": "llm-gateway", "pod": "llm-gateway-0"}
        engine = {"namespace": "llm-engines", "pod": "engine-tiny-0", "model": "tiny", "engine": "llamacpp"}
        jobs = [("llm-gateway", f"127.0.0.1:{self.gateway_port}", gateway)]
        engines = {f"127.0.0.1:{self.engine_port}": engine, **self.targets}
        jobs += [(f"llm-engines-{place}", place, labels) for place, labels in engines.items()]
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [place], "labels": labels}]}
                for name, place, labels in jobs
            ],
        }

    # --- processes

    @contextmanager
    def engine(self, port: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """llama.cpp, on the scraped port or on another; ready when it enters."""
        port = port or self.engine_port
        options = ["--alias", "tiny", "--port", str(port), "-np", str(self.slots), "--metrics"]
        command = [sys.executable, "-m", "llamacpp_engine", "-m", str(self.model), "-t", "1", *options]
        with running(command, cwd=REPO / "engines" / "llamacpp") as process:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), "the engine")
            yield process

    @contextmanager
    def gateway(self, engines: Sequence[str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """`engines`: URLs; without any it finds its engines by itself. By default the engine that is scraped."""
        options = [word for url in ([self.engine_url] if engines is None else engines) for word in ("--engine", url)]
        options += [
            "--keys-dir",
            str(self.folder / "keys"),
            "--access-log",
            str(self.access_log),
            *self.gateway_options,
        ]
        command = [sys.executable, "-m", "llm_gateway", "serve", "--listen", f"127.0.0.1:{self.gateway_port}", *options]
        with running(command, env={**os.environ, "PYTHONPATH": str(REPO / "gateway" / "src")}) as process:
            wait_for(lambda: answers(f"{self.gateway_url}/healthz"), "the gateway")
            yield process

    @contextmanager
    def prometheus(self) -> Iterator[subprocess.Popen[bytes]]:
        listen = f"--web.listen-address=127.0.0.1:{self.prometheus_port}"
        command = [PROMETHEUS, "--config.file=prometheus.yml", "--storage.tsdb.path=data", listen]
        with running(command, cwd=self.folder) as process:
            wait_for(lambda: answers(f"{self.prometheus_url}/-/ready"), "Prometheus")
            yield process

    # --- requests

    def ask(self, *, key: str = KEY, timeout: float = 30, headers: dict[str, str] | None = None, **body: Any) -> bytes:
        """One completion through the gateway, a stream unless `body` says otherwise. Raises OSError."""
        asked = {"model": "tiny", "prompt": "The module", "max_tokens": 8, "stream": True, "ignore_eos": True, **body}
        request = urllib.request.Request(
            f"{self.gateway_url}/v1/completions",
            json.dumps(asked).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return bytes(answer.read())

    @contextmanager
    def load(self, clients: int = 1, pause: float = 0.3, **asked: Any) -> Iterator[None]:
        """Requests one after the other from each client, whatever becomes of them."""
        with asking(lambda: self.ask(**{"timeout": 20, **asked}), clients, pause, timeout=30):
            yield

    # --- what Prometheus says

    def query(self, text: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"{self.prometheus_url}/api/v1/query?{asked}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def firing(self) -> set[str]:
        return {one["metric"]["alertname"] for one in self.query('ALERTS{alertstate="firing"}')}

    def fires(self, *alerts: str, seconds: float = 90) -> None:
        wait_for(lambda: set(alerts) <= self.firing(), f"{alerts} to fire", seconds, self.firing)

    def clears(self, *alerts: str, seconds: float = 90) -> None:
        wait_for(lambda: not set(alerts) & self.firing(), f"{alerts} to clear", seconds, self.firing)


def wait_for(
    true: Callable[[], Any], what: str, seconds: float = 60, seen: Callable[[], Any] = lambda: "nothing"
) -> None:
    """Ask until it is so. Fails with what was seen at the end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(urllib.error.URLError, OSError):
            if true():
                return
        time.sleep(0.3)
    pytest.fail(f"waited {seconds} s for {what}; seen: {seen()}")
