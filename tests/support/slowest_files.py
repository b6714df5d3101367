# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: where a run's time went, also under xdist. At the end it prints the ten slowest test files, how long each worker
had nothing to do, and how many cores the machine kept busy. The files that took longest start first in the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.content_cache import ContentCache

MOST = 10
_SECONDS = ContentCache("seconds")
_KEY = "files"


@dataclass
class Spent:
    """Seconds of one file's tests. `fixtures_s`: set-up and teardown; what files share counts in the first. `cpu_s`: of the
    worker and of the programs that ended in a test; what goes on in the background (a cluster) is not in it."""

    tests: int = 0
    fixtures_s: float = 0.0
    tests_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.fixtures_s + self.tests_s

    def add(self, report: pytest.TestReport) -> None:
        self.cpu_s += getattr(report, "cpu_s", 0.0)
        if report.when == "call":
            self.tests += 1
            self.tests_s += report.duration
        else:
            self.fixtures_s += report.duration


def table(files: dict[str, Spent]) -> list[str]:
    """Lines, the slowest file first; none for a single file."""
    if len(files) < 2:
        return []
    slowest = sorted(files.items(), key=lambda file: file[1].total_s, reverse=True)[:MOST]
    rows = [
        f"{spent.total_s:8.1f} {spent.fixtures_s:10.1f} {spent.tests_s:8.1f} {spent.cpu_s:8.1f} {spent.tests:7d}  {name}"
        for name, spent in slowest
    ]
    return [f"{'seconds':>8} {'fixtures':>10} {'tests':>8} {'CPU':>8} {'number':>7}  file", *rows]


def cpu_s() -> float:
    """CPU-seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def machine_busy_s() -> float:
    """CPU-seconds that the whole machine has worked since it started (/proc/stat, proc(5)); 0 where that is not told."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, first)
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


class Measured:
    """In the process that runs the tests: gives every report its `cpu_s`."""

    def __init__(self) -> None:
        self._before = cpu_s()

    def pytest_runtest_logstart(self) -> None:
        self._before = cpu_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        report: Any = yield
        now = cpu_s()
        report.cpu_s, self._before = now - self._before, now
        return report


class SlowestFiles:
    """In the process that shows the results; under xdist it sees the reports of all workers."""

    def __init__(self, whole: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """`whole`: files are run whole, each by one worker, so that what they take is worth remembering."""
        self._whole, self._clock, self._begun, self._busy_s = whole, clock, clock(), machine_busy_s()
        self._remembered: dict[str, float] = _SECONDS.get(_KEY) or {}
        self.files: dict[str, Spent] = {}
        self.last: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.files.setdefault(report.nodeid.partition("::")[0], Spent()).add(report)
        worker = getattr(report, "worker_id", "")
        if worker:
            self.last[worker] = self._clock()

    def idle(self) -> str:
        """How long each worker had nothing left to do before the last one ended."""
        ended = max(self.last.values())
        return ", ".join(f"{worker} {ended - last:.0f} s" for worker, last in sorted(self.last.items()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = table(self.files)
        if not lines:
            return
        terminalreporter.section("slowest files")
        wall = self._clock() - self._begun
        lines.append(f"{(machine_busy_s() - self._busy_s) / wall:.2f} of {os.cpu_count()} cores were busy")
        if self.last:
            lines.append(f"idle at the end: {self.idle()}")
        for line in lines:
            terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        """Files that this run did not have keep their time."""
        if self._whole:
            took = {name: round(spent.total_s, 1) for name, spent in self.files.items()}
            _SECONDS.put(_KEY, self._remembered | took)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Each worker must find the same order, and another run may end meanwhile."""
        node.workerinput["seconds"] = self._remembered


class LongestFirst:
    """In a worker: puts files that took long first, so that no worker begins one when the others have ended."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: -self._seconds.get(item.nodeid.partition("::")[0], 0.0))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Measured(), "measured")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(LongestFirst(config.workerinput["seconds"]), "longest-first")
    else:
        whole = getattr(config.option, "dist", "no") == "loadfile"
        config.pluginmanager.register(SlowestFiles(whole), "slowest-files")
