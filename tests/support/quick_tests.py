# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: `--quick` runs the tests that start no programs and take no time (`make quick`).

A test that starts programs has the mark `programs`: every one below the folders in _FOLDERS or with a fixture in
_FIXTURES, and what says so itself. With `--quick` a test fails that starts a program and has not said so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

MARK = "programs"
LEFT_OUT = (MARK, "slow", "full", "perf", "cluster", "apiserver")
_FOLDERS = ("tests/integration/", "tests/e2e/", "tests/perf/")
# An emulated account; what roles describe, by Ansible unless it is known from an earlier session.
_FIXTURES = {"account", "aws", "described", "slow"}
_EVENTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty")
# What the standard library starts for platform.processor(), which HTTP clients put into headers, and for ctypes' search of
# the C library, which Ansible's display loads.
_HARMLESS = ("uname", "/sbin/ldconfig")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that start no programs and are not slow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_FOLDERS) or _FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(MARK)
    if config.getoption("quick"):
        left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in LEFT_OUT)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


class NoPrograms:
    """Refuses to start any while a test runs."""

    def __init__(self) -> None:
        self._running = ""
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._running or event not in _EVENTS:
            return
        program = str(arguments[0]) if arguments else event
        if program not in _HARMLESS:
            raise AssertionError(f"{self._running} starts {program}: a test that starts programs has the mark `{MARK}`")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._running = item.nodeid
        try:
            return (yield)
        finally:
            self._running = ""


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        config.pluginmanager.register(NoPrograms(), "no-programs")
