# SPDX-License-Identifier: Apache-2.0
"""Who holds a lock, so that another run on the same machine sees at once whether that process is still alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """host/boot/pid:start, by which another run on this machine can see whether we are alive."""
    return f"{socket.gethostname()}/{_boot()}/{os.getpid()}:{_start(os.getpid())}"


def is_dead(process: str) -> bool:
    host, __, rest = process.partition("/")
    boot, __, rest = rest.partition("/")
    pid, __, start = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return boot != _boot() or _start(int(pid)) != start


def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


def _start(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
