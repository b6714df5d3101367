# SPDX-License-Identifier: Apache-2.0
"""Supervisor (http://supervisord.org) keeps the programs running; this writes its configuration and talks to it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from . import environment
from .config import ClusterConfig
from .errors import LocalClusterError
from .programs import Program


def configuration(config: ClusterConfig, programs: list[Program]) -> str:
    """supervisord.conf. Each program's section has a digest of the files that it reads, so that a change restarts it."""
    state = config.state
    text = f"""[supervisord]
logfile={state}/logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={state}/supervisord.pid
childlogdir={state}/logs
umask=022
[unix_http_server]
file={state}/supervisor.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    for priority, program in enumerate(programs):
        digest = hashlib.sha256("".join(f"{path}{content}" for path, content in program.files.items()).encode())
        command = " ".join(_quoted(word) for word in program.command)
        folder = f"directory={program.folder}\n" if program.folder else ""
        text += f"""[program:{program.name}]
command={command}
{folder}priority={priority}
environment=PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",LLM_FILES="{digest.hexdigest()[:16]}"
autorestart=true
startsecs=1
startretries=100000
stopsignal=TERM
stopwaitsecs={program.stop_seconds}
redirect_stderr=true
stdout_logfile={state}/logs/{program.name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
"""
    return text


def _quoted(word: str) -> str:
    """Quoted for supervisord, which splits like a shell and expands %."""
    escaped = word.replace("%", "%%")
    return f'"{escaped}"' if " " in escaped or ";" in escaped else escaped


class Supervisor:
    """A cluster's supervisord, running or not."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.file = config.state / "supervisord.conf"
        self.socket = config.state / "supervisor.sock"

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        proxy = ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def running(self) -> bool:
        try:
            return cast(str, self._call("getState")["statename"]) == "RUNNING"
        except (OSError, HTTPException, Fault):
            return False

    def states(self) -> dict[str, str]:
        """program -> RUNNING, STARTING, BACKOFF …; empty when supervisord does not run."""
        try:
            return {info["name"]: info["statename"] for info in self._call("getAllProcessInfo")}
        except (OSError, HTTPException, Fault):
            return {}

    def apply(self, programs: list[Program]) -> bool:
        """Write files and configuration, and start or restart the programs that changed; True when anything changed."""
        for program in programs:
            for path, content in program.files.items():
                _write_if_changed(path, content)
        changed = _write_if_changed(self.file, configuration(self.config, programs))
        if not self.running():
            self._start()
            return True
        if changed:
            added, altered, removed = self._call("reloadConfig")[0]
            for name in [*altered, *removed]:
                self._call("stopProcessGroup", name)
                self._call("removeProcessGroup", name)
            for name in [*added, *altered]:
                self._call("addProcessGroup", name)
        return changed

    def _start(self) -> None:
        self.stop()
        (self.config.state / "logs").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.file)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
            check=False,
            env=environment.without_proxies(),
        )
        if done.returncode:
            raise LocalClusterError(f"local cluster: supervisord did not start: {(done.stderr or done.stdout).strip()}")
        end = time.monotonic() + 10
        while not self.running():
            if time.monotonic() > end:
                raise LocalClusterError(
                    f"local cluster: supervisord does not answer; see {self.config.state}/logs/supervisord.log"
                )
            time.sleep(0.1)

    def stop(self) -> bool:
        """End supervisord and its programs, whatever their state; True when it ran."""
        pid = self._pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 40
        while _is_ours(pid, self.file) and time.monotonic() < end:
            time.sleep(0.1)
        if _is_ours(pid, self.file):
            os.kill(pid, signal.SIGKILL)
        return True

    def _pid(self) -> int | None:
        file = self.config.state / "supervisord.pid"
        if not file.exists():
            return None
        text = file.read_text().strip()
        return int(text) if text.isdigit() and _is_ours(int(text), self.file) else None


def _is_ours(pid: int, file: Path) -> bool:
    """Whether the process is a supervisord of this configuration; process ids are reused."""
    try:
        return str(file).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _write_if_changed(path: Path, content: str) -> bool:
    if path.exists() and path.read_text() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(content)
    return True
