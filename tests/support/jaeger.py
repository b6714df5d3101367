# SPDX-License-Identifier: Apache-2.0
"""Jaeger from its Go module: as a program with a role's configuration, as the image that role jaeger names, and what its query API says."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.support import program_image
from tests.support.live_metrics import free_port, running
from tests.support.waiting import until
from tools import obtain

REPO = Path(__file__).resolve().parents[2]
PROGRAM = obtain.cached_path(obtain.load_tools()["jaeger"], obtain.default_cache())


def missing() -> str:
    """The command that makes it; empty where it is there."""
    return "" if PROGRAM.exists() else "python -m tools.obtain jaeger"


def written(folder: Path) -> dict[str, Path]:
    """Reference -> archive, of the image that role jaeger names."""
    reference = yaml.safe_load((REPO / "roles/jaeger/defaults/main.yml").read_text())["jaeger_image"]
    archive = program_image.written(f"docker.io/{reference}", {"jaeger": PROGRAM}, folder / "jaeger.tar", user="10001")
    return {f"docker.io/{reference}": archive}


def snapshot(name: str) -> dict[str, Any]:
    """The configuration of a snapshot of the role."""
    descriptor = yaml.safe_load((REPO / f"roles/jaeger/tests/{name}.yml").read_text())["descriptor"]
    found = [
        one for one in descriptor[0]["manifests"] if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "jaeger"
    ]
    config: dict[str, Any] = yaml.safe_load(found[0]["data"]["config.yaml"])
    return config


def refusal(config: Mapping[str, Any], folder: Path) -> str:
    """What the program says against a configuration; empty where it takes it."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(dict(config)))
    done = subprocess.run(
        [PROGRAM, "validate", "--config", file], capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).strip() if done.returncode else ""


@dataclass(frozen=True)
class Jaeger:
    """Where it is asked, and where spans go; `grpc`: HOST:PORT where it is asked by gRPC."""

    query: str
    otlp: str
    grpc: str = ""

    def get(self, path: str, **query: str) -> Any:
        """`data` of the answer; None: it knows nothing of it."""
        try:
            with urllib.request.urlopen(f"{self.query}/api/{path}?{urlencode(query)}", timeout=20) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def trace(self, trace: str) -> dict[str, Span]:
        """Identity -> span, of one trace."""
        found = self.get(f"traces/{trace}") or [{"spans": [], "processes": {}}]
        return {one["spanID"]: Span(one, found[0]["processes"]) for one in found[0]["spans"]}

    def traces(self, service: str, **tags: str) -> set[str]:
        """Traces with a span of this service that has these tags."""
        chosen = {"service": service, "tags": json.dumps(tags), "lookback": "1h", "limit": "100"}
        return {one["traceID"] for one in self.get("traces", **chosen) or []}

    def send(self, document: Mapping[str, Any]) -> None:
        """Spans by OTLP over HTTP."""
        body, headers = json.dumps(document).encode(), {"content-type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.otlp}/v1/traces", body, headers), timeout=20
        ) as answer:
            assert answer.status == 200


class Span:
    """One span as the query API tells it."""

    def __init__(self, document: Mapping[str, Any], processes: Mapping[str, Any]) -> None:
        self.name = document["operationName"]
        self.service = processes[document["processID"]]["serviceName"]
        self.parents = [one["spanID"] for one in document["references"] if one["refType"] == "CHILD_OF"]
        self.tags = {one["key"]: one["value"] for one in document["tags"]}
        self.events = [field["value"] for log in document["logs"] for field in log["fields"] if field["key"] == "event"]
        self.start_us = document["startTime"]
        self.end_us = document["startTime"] + document["duration"]

    @property
    def failed(self) -> bool:
        """Whether Jaeger draws it red."""
        return self.tags.get("error") is True


@contextmanager
def started(config: Mapping[str, Any], folder: Path) -> Iterator[Jaeger]:
    """The program with this configuration on ports of 127.0.0.1 that are free."""
    ports: dict[str, int] = {}

    def local(match: re.Match[str]) -> str:
        return f"127.0.0.1:{ports.setdefault(match[1], free_port())}"

    text = re.sub(r"0\.0\.0\.0:(\d+)", local, yaml.safe_dump(dict(config)))
    moved = yaml.safe_load(text)
    moved["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"] |= {
        "host": "127.0.0.1",
        "port": free_port(),
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(moved))
    with running([PROGRAM, "--config", file]) as process:
        until(lambda: process.poll() is not None or _well(ports["13133"]), seconds=60)
        assert process.poll() is None, "it did not start"
        query, otlp, grpc = (f"127.0.0.1:{ports[port]}" for port in ("16686", "4318", "16685"))
        yield Jaeger(f"http://{query}", f"http://{otlp}", grpc)


def _well(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
