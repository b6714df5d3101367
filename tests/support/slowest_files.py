# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: a table of the ten slowest test files at the end of each run, also under xdist."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

MOST = 10


@dataclass
class Spent:
    """Wall-clock seconds of one file's tests. `fixtures_s`: set-up and teardown; what files share counts in the first."""

    tests: int = 0
    fixtures_s: float = 0.0
    tests_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.fixtures_s + self.tests_s

    def add(self, report: pytest.TestReport) -> None:
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
        f"{spent.total_s:8.1f} {spent.fixtures_s:10.1f} {spent.tests_s:8.1f} {spent.tests:7d}  {name}"
        for name, spent in slowest
    ]
    return [f"{'seconds':>8} {'fixtures':>10} {'tests':>8} {'number':>7}  file", *rows]


class SlowestFiles:
    """Under xdist the controller sees the reports of all workers."""

    def __init__(self) -> None:
        self.files: dict[str, Spent] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.files.setdefault(report.nodeid.partition("::")[0], Spent()).add(report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = table(self.files)
        if lines:
            terminalreporter.section("slowest files")
            for line in lines:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SlowestFiles(), "slowest-files")
