# SPDX-License-Identifier: Apache-2.0
"""A converge in a process of its own that dies at a chosen changing call to AWS: before it is sent, or before its answer is seen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support import forked
from tests.support.aws_account import LOCKS
from tests.support.emulated_aws import KEYS, REGION

REPO = Path(__file__).resolve().parents[2]
READING = ("Describe", "Get", "List", "Head")
SESSION = boto3.session.Session(region_name=REGION, **KEYS)
SERVICES = ("ec2", "efs", "eks", "elbv2", "events", "iam", "kms", "logs", "s3", "sqs", "sts")
# Exit code of a run that Ctrl-C ended, as shells have it.
INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Cut:
    """The process gets `number` at its `call`-th changing call, counted from 1; `after`: once AWS has carried that out.

    `locks`: whether the calls that take and leave the account's lock count.
    """

    call: int
    after: bool = False
    number: int = signal.SIGKILL
    locks: bool = True

    def __str__(self) -> str:
        return f"{signal.Signals(self.number).name} {'after' if self.after else 'before'} call {self.call}"


@dataclass(frozen=True)
class Ended:
    """`code` as of a process: negative for a signal. `calls`: names of the changing calls, `said`: what it told people meanwhile; both
    empty when it was killed."""

    code: int
    calls: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    actions: int = 0
    said: tuple[str, ...] = ()


class _Counter:
    """Counts changing calls over all clients of the run, and carries the cut out."""

    def __init__(self, cut: Cut | None) -> None:
        self.cut = cut
        self.calls: list[str] = []
        self._lock = threading.Lock()
        self._mine = threading.local()

    def client(self, made: Any) -> Any:
        made.meta.events.register_first("before-call", self._before)
        made.meta.events.register_first("after-call", self._after)
        return made

    def _before(self, model: Any, **__: Any) -> None:
        self._mine.number = 0
        is_lock = model.service_model.service_name == "s3"
        if not model.name.startswith(READING) and not (is_lock and self.cut and not self.cut.locks):
            with self._lock:
                self.calls.append(f"{model.service_model.service_name}:{model.name}")
                self._mine.number = len(self.calls)
            self._strike(after=False)

    def _after(self, **__: Any) -> None:
        self._strike(after=True)

    def _strike(self, *, after: bool) -> None:
        if self.cut and self.cut.after == after and self._mine.number == self.cut.call:
            os.kill(os.getpid(), self.cut.number)


def _work(url: str, name: str, components: list[Any], cut: Cut | None, end: Any) -> None:
    counter = _Counter(cut)
    connection = Connection(
        lambda service: counter.client(SESSION.client(service, endpoint_url=url)), REGION, retry_delay_s=0.05
    )
    said: list[str] = []
    access = AwsAccess(connection, name, LOCKS)
    request = engine.Request(
        lose_data=("all",),
        descriptors=components,
        aws=access,
        lock_timeout_s=20,
        hooks=engine.Hooks(say=said.append),
    )
    try:
        done = engine.converge(request)
    except KeyboardInterrupt:
        end.send((tuple(counter.calls), (), 0, tuple(said)))
        os._exit(INTERRUPTED)
    end.send((tuple(counter.calls), tuple(done.errors), len(done.actions), tuple(said)))


class Runs:
    """Starts runs on one account."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    def run(self, components: list[Any], cut: Cut | None = None, *, kill_after_s: float = 0) -> Ended:
        """Until it ends. `kill_after_s`: killed from outside so long after its start, at whatever it is then."""
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = forked.start(_work, self.url, self.name, components, cut, theirs)
        theirs.close()
        if kill_after_s:
            process.join(kill_after_s)
            process.kill()
        process.join(300)
        assert process.exitcode is not None, f"a run with {cut} did not end"
        try:
            said = ours.recv()
        except EOFError:
            said = ()
        return Ended(process.exitcode, *said)
