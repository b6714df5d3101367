# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: run by name (`make bench-converge`), print a table, and assert nothing about time."""

from __future__ import annotations

import pytest


class Table:
    """Rows of (what, measured, target)."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def add(self, what: str, measured: str, target: str = "") -> None:
        self.rows.append((what, measured, target))


@pytest.fixture(scope="session")
def table(request):
    made = Table()
    yield made
    width = max([len(what) for what, _, _ in made.rows] or [0])
    measured = max([len(text) for _, text, _ in made.rows] or [0])
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    reporter.write_line("")
    for what, text, target in made.rows:
        reporter.write_line(f"  {what:<{width}}  {text:<{measured}}  {target}".rstrip())
