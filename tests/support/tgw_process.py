# SPDX-License-Identifier: Apache-2.0
"""Text Generation WebUI with the Neuron overlay, as a process: the stand-in, or a real checkout where TGW_SOURCE names one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SUPPORT = REPO / "tests" / "support" / "tgw"
OVERLAY = REPO / "engines" / "tgw"
STAND_IN = "stand-in"
N_POSITIONS = 256
START_S = 600


def sources() -> list[str]:
    """What the suite runs on: always the stand-in; real checkouts, separated by colons, where TGW_SOURCE names them."""
    return [STAND_IN, *filter(None, os.environ.get("TGW_SOURCE", "").split(os.pathsep))]


def name_of(source: str) -> str:
    return Path(source).name


def python_of(source: str) -> str:
    return sys.executable if source == STAND_IN else os.environ.get("TGW_PYTHON", sys.executable)


def root_of(source: str) -> Path:
    return SUPPORT / "upstream" if source == STAND_IN else Path(source)


def environment(source: str, **more: str) -> dict[str, str]:
    folders = [OVERLAY, SUPPORT / "neuronx", *([SUPPORT / "torch"] if source == STAND_IN else [SUPPORT / "optimum"])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEXTGEN_", "TGW_", "PYTHON"))}
    return {
        **kept,
        "TGW_ROOT": str(root_of(source)),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TEXTGEN_NEURON_N_POSITIONS": str(N_POSITIONS),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }


@dataclass
class Reply:
    """`events`: of a stream, decoded; `done`: it ended with [DONE]."""

    status: int
    headers: dict[str, str]
    body: bytes
    events: list[dict] = field(default_factory=list)
    done: bool = False

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """What the model said, whole or in pieces."""
        found = self.events or [self.json]
        return "".join(_said(choice) for event in found for choice in event.get("choices", ()))


def _said(choice) -> str:
    part = choice.get("message") or choice.get("delta")
    return (part.get("content") or "") if part is not None else choice.get("text") or ""


class Tgw:
    """A running server. `lines`: what it has written so far."""

    def __init__(self, source: str, model_dir: Path, model: str, *flags: str, **variables: str) -> None:
        self.port = _free_port()
        self.lines: list[str] = []
        command = [python_of(source), "-m", "tgw_neuron", "--nowebui", "--api", "--listen", f"--api-port={self.port}"]
        command += [f"--model-dir={model_dir}", f"--model={model}", *flags]
        self.process = subprocess.Popen(
            command,
            env=environment(source, **variables),
            cwd=root_of(source),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self.lines.extend(self.process.stdout)

    def wait_ready(self) -> Tgw:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                time.sleep(0.2)
                raise AssertionError(f"ended with {self.process.returncode}:\n{''.join(self.lines[-30:])}")
            try:
                if self.get("/readyz").status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("not ready:\n" + "".join(self.lines[-30:]))

    def get(self, path: str, **headers: str) -> Reply:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, body, **headers: str) -> Reply:
        return self._ask("POST", path, body, headers)

    def complete(self, prompt: str, **more) -> Reply:
        return self.post("/v1/completions", {"prompt": prompt, "max_tokens": 16, "temperature": 0, **more})

    def chat(self, content: str, **more) -> Reply:
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 16, "temperature": 0, **more}
        return self.post("/v1/chat/completions", body)

    def begin(self, path: str, body, **headers: str) -> HTTPConnection:
        """Send a request and leave its answer unread."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Content-Type": "application/json", **_dashed(headers)}
        connection.request("POST", path, json.dumps(body), sent)
        return connection

    def metric(self, line: str) -> float:
        """The value of the sample whose line begins with this; 0 without one."""
        found = [one for one in self.get("/metrics").body.decode().splitlines() if one.startswith(line)]
        return sum(float(one.rpartition(" ")[2]) for one in found)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def _ask(self, method, path, body, headers) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            payload = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json", **_dashed(headers)})
            return read(connection)
        finally:
            connection.close()


def read(connection: HTTPConnection) -> Reply:
    """The whole answer to a request that was begun."""
    response = connection.getresponse()
    reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        data = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
        reply.done = bool(data) and data[-1] == "[DONE]"
        reply.events = [json.loads(one) for one in data if one != "[DONE]"]
    return reply


def _dashed(headers) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
