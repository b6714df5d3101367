# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: run by name (`make bench-converge`), print a table, and assert nothing about time."""

from __future__ import annotations

import pytest


class Table:
    """Rows of (what, measured, target), printed at the end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def add(self, what: str, measured: str, target: str = "") -> None:
        self.rows.append((what, measured, target))


_TABLE = pytest.StashKey[Table]()


@pytest.fixture(scope="session")
def table(request):
    return request.config.stash.setdefault(_TABLE, Table())


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[_TABLE].rows if _TABLE in config.stash else []
    widths = [max([len(row[column]) for row in rows] or [0]) for column in range(3)]
    for row in rows:
        terminalreporter.write_line(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        )
