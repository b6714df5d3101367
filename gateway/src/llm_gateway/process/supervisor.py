# SPDX-License-Identifier: Apache-2.0
"""Several worker processes on one port: started, watched, started again, told to stop.

The supervisor holds one listening socket per worker (SO_REUSEPORT), so connections to a worker that died wait in its backlog for the next
one instead of being refused. It serves nothing itself.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llm_gateway.callers.ledger import Ledger
from llm_gateway.config.settings import Settings, host_port
from llm_gateway.errors import ConfigError
from llm_gateway.process.siblings import Family
from llm_gateway.process.worker import Worker, bind

LOG = logging.getLogger("llm_gateway")
# A worker that ends sooner than this after its start makes the next start wait, longer each time.
SHORT_LIFE_S = 5.0
MAX_PAUSE_S = 10.0
STATUS_CONFIG = 2


class Supervisor:
    """Runs `settings.workers` workers until it is told to stop."""

    def __init__(self, settings: Settings, load: Callable[[], Settings] | None) -> None:
        self._settings = settings
        self._load = load
        self._stopping = False
        self._status = 0
        self._children: dict[int, tuple[int, float]] = {}  # process id → worker number, start

    def run(self) -> int:
        """Returns the exit status. Raises ConfigError."""
        settings = self._settings
        first = bind(settings, shared=True)
        host, port = host_port(settings.listen)
        if port == 0:
            port = first.getsockname()[1]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        listeners = [first]
        for __ in range(settings.workers - 1):
            listeners.append(bind(settings, shared=True, address=shown))
        for listener in listeners:
            listener.listen(4096)
        ledger = Ledger(settings.workers, path=settings.state_file)
        folder = Path(tempfile.mkdtemp(prefix="llm-gateway-"))
        try:
            return self._watch(listeners, ledger, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, listeners: list[socket.socket], ledger: Ledger, folder: Path) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._forward)
        gc.collect()
        gc.freeze()
        pauses = [0.0] * len(listeners)
        for worker in range(len(listeners)):
            self._start(worker, listeners, ledger, folder)
        while self._children:
            try:
                process, status = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            worker, started_at = self._children.pop(process, (-1, 0.0))
            if worker < 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                self._status = self._status or (1 if code not in (0, -signal.SIGTERM) else 0)
                continue
            if code == STATUS_CONFIG:
                self._status = STATUS_CONFIG
                self._stop(signal.SIGTERM, None)
                continue
            LOG.error("worker %d (pid %d) ended with status %d; starting another one", worker, process, code)
            ledger.forget_worker(worker)
            lived_s = time.monotonic() - started_at
            pauses[worker] = 0.0 if lived_s > SHORT_LIFE_S else min(MAX_PAUSE_S, pauses[worker] * 2 or 0.1)
            time.sleep(pauses[worker])
            if not self._stopping:
                self._start(worker, listeners, ledger, folder)
        return self._status

    def _start(self, worker: int, listeners: list[socket.socket], ledger: Ledger, folder: Path) -> None:
        process = os.fork()
        if process:
            self._children[process] = (worker, time.monotonic())
            return
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            for other, listener in enumerate(listeners):
                if other != worker:
                    listener.close()
            ledger.worker = worker
            family = Family(folder, worker, len(listeners), os.getppid())
            status = Worker(self._settings, listeners[worker], ledger=ledger, family=family, load=self._load).run()
        except ConfigError as error:
            sys.stderr.write(f"llm-gateway: {error}\n")
            status = STATUS_CONFIG
        except BaseException:  # the rim of a forked process: it must never go on as its parent
            LOG.exception("worker %d broke", worker)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)

    def _stop(self, number: int, _frame: object) -> None:
        self._stopping = True
        self._forward(signal.SIGTERM, None)

    def _forward(self, number: int, _frame: object) -> None:
        for process in list(self._children):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue
