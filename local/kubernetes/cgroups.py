# SPDX-License-Identifier: Apache-2.0
"""The cluster's own control groups, on cgroup v1 (hybrid) and v2. The part for v2 follows the documentation and is untested."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from .processes import kill_all

ROOT = Path("/sys/fs/cgroup")


def is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The hierarchies in which a group must be created: one on v2, one per controller on v1."""
    if is_v2():
        return [ROOT]
    # Some controllers are links to a joint one (cpu -> cpu,cpuacct); each hierarchy counts once.
    return sorted({folder.resolve() for folder in ROOT.iterdir() if folder.is_dir()})


def make(name: str) -> None:
    """The group `name` directly below the root, in every hierarchy."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A v1 cpuset without processors accepts no process.
            if not is_v2() and (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())
    if is_v2():
        wanted = [f"+{controller}" for controller in (ROOT / "cgroup.controllers").read_text().split()]
        for group in (ROOT, ROOT / name):
            (group / "cgroup.subtree_control").write_text(" ".join(wanted))


def processes(name: str) -> set[int]:
    """Every process in the group or below it."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder, __, __ in os.walk(hierarchy / name):
            try:
                found.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:  # the group was removed meanwhile
                continue
    return found


def kill(name: str, timeout_s: float = 10) -> bool:
    """SIGKILL to all processes of the group until none is left; True when there was one."""
    return kill_all(lambda: processes(name), timeout_s)


def remove(name: str) -> bool:
    """Remove the group and everything below it, in every hierarchy; True when it existed."""
    removed = False
    for hierarchy in hierarchies():
        for folder in _deepest_first(hierarchy / name):
            for __ in range(50):
                try:
                    folder.rmdir()
                    removed = True
                    break
                except FileNotFoundError:
                    break
                except OSError:  # busy for a moment after its last process has ended
                    time.sleep(0.05)
    return removed


def _deepest_first(top: Path) -> Iterator[Path]:
    for folder, __, __ in os.walk(top, topdown=False):
        yield Path(folder)
