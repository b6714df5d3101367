# SPDX-License-Identifier: Apache-2.0
"""The gateway as users start it: `python -m llm_gateway serve`, in processes of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import llm_gateway
from gateway_support.house import Front

# Where the package is that this very process tests.
SOURCE = Path(llm_gateway.__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process(Front):
    """A running `serve`."""

    def __init__(self, folder: Path, *flags: str, key: str = "sk-test") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        keys = folder / "process-keys.txt"
        keys.write_text(key + "\n")
        self.log = folder / f"log-{self.port}"
        self.popen = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "llm_gateway",
                "serve",
                "--listen",
                f"127.0.0.1:{self.port}",
                *([] if "--access-log" in flags else ["--access-log", ""]),
                *([] if "--api-key-file" in flags else ["--api-key-file", str(keys)]),
                *flags,
            ],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stderr=self.log.open("w"),
        )
        until = time.monotonic() + 20
        while True:
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                pass
            if self.popen.poll() is not None or time.monotonic() > until:
                raise AssertionError(self.log.read_text())
            time.sleep(0.02)

    def children(self) -> list[int]:
        pid = self.popen.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, timeout: float = 20) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *__: object) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                for child in self.children():
                    os.kill(child, signal.SIGKILL)
                self.popen.kill()
                self.popen.wait(10)


def keep_alive(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)
