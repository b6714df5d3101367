# SPDX-License-Identifier: Apache-2.0
"""A real llama.cpp server with a tiny model, made on the spot."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

REPO = Path(__file__).resolve().parents[3]


class RealEngine:
    """A running engine, as `House.front` takes it."""

    def __init__(self, url: str) -> None:
        self.url = url


def tiny_model() -> ModuleType:
    """What makes the model's files, from the tests of the whole."""
    spec = importlib.util.spec_from_file_location("tiny_model", REPO / "tests" / "support" / "tiny_model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_model"] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def llamacpp(folder: Path, *flags: str, name: str = "tiny", kind: str = "bigram") -> Iterator[RealEngine]:
    """Start it (with more of its `flags`), wait until it is ready, end it."""
    model = tiny_model().make_tiny_gguf(folder / f"{kind}.gguf", kind)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "llamacpp_engine",
        "-m",
        str(model),
        "--alias",
        name,
        "--port",
        str(port),
        "-np",
        "2",
        # As the role engine_llamacpp has it: each connection that is open, idle or not, takes one of them.
        "--threads-http",
        "64",
    ]
    process = subprocess.Popen(
        [*command, "--metrics", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPO / "engines" / "llamacpp",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        for line in process.stdout:
            if " ready on " in line:
                break
        else:
            raise AssertionError(f"the engine ended with {process.wait()} before it was ready")
        yield RealEngine(line.split()[-1])
    finally:
        process.kill()
        process.wait()
