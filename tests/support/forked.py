# SPDX-License-Identifier: Apache-2.0
"""Processes that cost no start-up: forked from one that has already loaded the emulator and converge."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from typing import Any


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.preloaded"])
    return context


def _ensure_server() -> None:
    """Python 3.11 hands the server no import path, and it says nothing of imports that fail: PYTHONPATH is what it has."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """A process of its own that calls `target`, a function of a module, with these arguments."""
    context = _context()
    _ensure_server()
    sys.audit("subprocess.Popen", "forkserver", (), None, None)  # what is forked is a program, too
    process = context.Process(target=target, args=arguments)
    process.start()
    return process
