# SPDX-License-Identifier: Apache-2.0
"""Only one process at a time changes a cluster: a run that was killed may have left a process that still works on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .config import ClusterConfig
from .errors import LocalClusterError


@contextmanager
def alone(config: ClusterConfig, say: Callable[[str], None]) -> Iterator[None]:
    """Locks the cluster's state folder, which is created where it is missing, and may be deleted meanwhile.

    `say` is called when it must wait.
    """
    while True:
        _make(config)
        held = os.open(config.state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _wait_for(held, say)
            if _is(held, config):
                yield
                return
        finally:
            os.close(held)


def _wait_for(held: int, say: Callable[[str], None]) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run changes this cluster: waiting for it")
        fcntl.flock(held, fcntl.LOCK_EX)


def _make(config: ClusterConfig) -> None:
    try:
        config.state.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        raise LocalClusterError(f"local cluster: {config.state} cannot be made; run it as root, with sudo") from None


def _is(held: int, config: ClusterConfig) -> bool:
    """Whether the locked folder is still the current one: the previous holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(held), config.state.stat())
    except FileNotFoundError:
        return False
