# SPDX-License-Identifier: Apache-2.0
"""What the benchmark needs of the machine: two cores kept apart, CPU time and memory of process trees, compiled helpers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORES = sorted(os.sched_getaffinity(0))
# The gateway under test has the last core for itself; mock engines and load generators share the first.
LOAD_CORE, GATEWAY_CORE = CORES[0], CORES[-1]
OPEN_FILES = 65536


class Unavailable(Exception):
    """Something cannot be measured here; the message is the word the table shows."""


def cache_folder() -> Path:
    """Where compiled helpers and peers are kept from run to run."""
    base = os.environ.get("LLM_ON_EKS_CACHE")
    folder = (Path(base) if base else Path.home() / ".cache" / "llm.on_eks") / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiled(name: str) -> Path:
    """The program of NAME.c, compiled once for each state of its source. Raises Unavailable."""
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = cache_folder() / f"{name}-{digest}"
    if not program.exists():
        try:
            subprocess.run(
                ["cc", "-O2", "-o", f"{program}.new", str(source)], check=True, capture_output=True, text=True
            )
        except FileNotFoundError:
            raise Unavailable("no C compiler: install gcc") from None
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{source.name} does not compile: {error.stderr[-300:]}") from None
        os.replace(f"{program}.new", program)
    return program


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    command: Sequence[str],
    core: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
) -> subprocess.Popen[str]:
    """A process on one core, with file descriptors enough for the streams it will hold."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))

    with log.open("w") as errors:
        return subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            stdin=stdin,
            stdout=stdout if stdout is not None else errors,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=prepare,
        )


@contextlib.contextmanager
def on_load_core() -> Iterator[None]:
    """Keep this thread, and those it starts, off the core of the gateway under test."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and all its children."""
    pids = tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, todo = [], [pid]
    while todo:
        each = todo.pop()
        found.append(each)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds that these processes have used, from the scheduler's own books (nanoseconds, not ticks)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def core_busy_s() -> dict[int, float]:
    """Seconds that each core has been busy with anybody's work, interrupts included."""
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _wait, irq, softirq, *__ = map(int, fields)
            found[int(name[3:])] = (user + nice + system + irq + softirq) / tick
    return found


def memory_mb(pids: Sequence[int]) -> float:
    """Memory of these processes, shared pages counted by share (PSS), in MB of 10^6 bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
            total += int(found[1]) * 1024 if found else 0
    return total / 1e6


def settle(pids: Sequence[int], limit_s: float = 8.0) -> None:
    """Wait until these processes have no backlog left."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        before = cpu_s(pids)
        time.sleep(0.1)
        if cpu_s(pids) - before < 0.015:
            return
