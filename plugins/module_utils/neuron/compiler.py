# SPDX-License-Identifier: Apache-2.0
"""Runs a library's compiler program in a process of its own, and interprets its output and its exit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import CompileError, InputError

HELPERS = Path(__file__).parent / "helpers"
_TAIL_LINES = 20

# (what the log or the exit shows, kind, sentence): the first that matches. F137 is the compiler's own code for a child
# that was killed.
_FAILURES: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device|\[Errno 28\]",
        "no_space",
        "there is no room in its work folder or on the volume: 50 GiB and more in /tmp are usual",
    ),
    (
        r"F137|MemoryError|Cannot allocate memory|\bKilled\b",
        "out_of_memory",
        "it ran out of memory: compile on a node with more (64 GiB for 8B), or with fewer jobs at once",
    ),
    (
        r"unsupported architecture|not supported|is not a supported|No module named 'transformers_neuronx\.",
        "unsupported",
        "the library has no such architecture: take another backend, or another engine",
    ),
    (
        r"(heads?|degree).{0,60}(divisible|divide)|not divisible",
        "not_divisible",
        "its heads cannot be spread over tp_degree: take a divisor of their number",
    ),
    (
        r"cached failed|previously failed|model\.error|retry_failed_compilation",
        "cached_failure",
        "the compiler's cache remembers that it failed before: add --retry_failed_compilation to compiler_flags, or empty its cache",
    ),
    (
        r"No module named|ModuleNotFoundError",
        "missing_package",
        "the image has not the backend's packages: use the image that serves it",
    ),
)


@dataclass(frozen=True)
class Backend:
    """`without_device`: it can compile on a node that has only processors. `helper`: its program."""

    name: str
    helper: Path
    without_device: bool = True


BACKENDS = {
    "tnx": Backend("tnx", HELPERS / "tnx.py"),
    "optimum": Backend("optimum", HELPERS / "optimum.py"),
    "vllm": Backend("vllm", HELPERS / "vllm.py", without_device=False),
}


@dataclass(frozen=True)
class Runner:
    """How programs are run. `timeout_s`: of a compilation. `environment` is merged over ours."""

    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 6 * 3600.0
    work_dir: Path | None = None

    def versions(self, backend: Backend) -> dict[str, str]:
        """The libraries' versions, read without a device. InputError when the libraries are missing."""
        # Jobs in the cluster run this too, without a module.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [self.python, str(backend.helper), "versions"],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        found = _last_object(done.stdout)
        if done.returncode or found is None:
            raise InputError(f"{self.python} cannot say its versions: {_tail(done.stderr, 3)}")
        return {str(name): str(version) for name, version in found.items()}

    def compile(self, backend: Backend, spec: Mapping[str, Any], log: Path, say: Callable[[str], None]) -> float:
        """Seconds of a successful compilation. CompileError for a failed one, whose process group is ended."""
        file = log.with_suffix(".spec.json")
        file.write_text(json.dumps(spec), encoding="utf-8")
        started = time.monotonic()
        with log.open("wb") as out:
            child = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [self.python, str(backend.helper), "compile", str(file)],
                env={**self._environment(), **({"NEURON_CC_FLAGS": spec["flags"]} if spec.get("flags") else {})},
                cwd=self.work_dir,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = _wait(child, started + self.timeout_s, say)
            finally:
                _end(child)
        tail = _tail(log.read_text(encoding="utf-8", errors="replace"), _TAIL_LINES)
        if code is None:
            raise CompileError(f"it took longer than {self.timeout_s / 60:.0f} min and was stopped", "timeout", tail)
        if code:
            raise classify(code, tail)
        return time.monotonic() - started

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **self.environment}


def classify(code: int, tail: str) -> CompileError:
    """Why a compilation failed, in a sentence."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL) and not re.search(_FAILURES[0][0], tail):
        return CompileError(_FAILURES[1][2], "out_of_memory", tail)
    for pattern, kind, sentence in _FAILURES:
        if re.search(pattern, tail, re.IGNORECASE):
            return CompileError(sentence, kind, tail)
    return CompileError(
        f"it ended with {code}: {tail.strip().splitlines()[-1] if tail.strip() else 'no word'}", "other", tail
    )


def _wait(child: subprocess.Popen[bytes], deadline: float, say: Callable[[str], None]) -> int | None:
    """Its exit code; None after the deadline. It reports every minute that it still runs."""
    started, told = time.monotonic(), 0
    while True:
        try:
            return child.wait(min(1.0, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if now >= deadline:
                return None
            if int((now - started) / 60) > told:
                told = int((now - started) / 60)
                say(f"compiling for {told} min")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the compiler's own children, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_object(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        return found if isinstance(found, dict) else None
    return None


def _tail(text: str, lines: int) -> str:
    found: Sequence[str] = text.strip().splitlines()[-lines:]
    return "\n".join(found) or "it said nothing"
