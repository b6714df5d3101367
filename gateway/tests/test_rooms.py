# SPDX-License-Identifier: Apache-2.0
"""The package's rooms stand on each other in one direction, and no two modules need each other. Imports for types alone count as well."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import llm_gateway

PACKAGE = Path(llm_gateway.__file__).parent
# A room, or a module beside the rooms, may import from those before it.
ORDER = (
    "errors",
    "config",
    "protocols",
    "http",
    "callers",
    "telemetry",
    "engines",
    "discovery",
    "data_path",
    "gateway",
    "web",
    "process",
    "simulation",
    "cli",
    "__main__",
)


def modules() -> dict[str, Path]:
    """All modules by their dotted names."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("llm_gateway", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that one module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in whole]
        found |= {name for name in names if name in known and name != "llm_gateway"}
    return found


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(path, known) for name, path in known.items() if name != "llm_gateway"}


def test_no_two_modules_need_each_other() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_a_room_stands_only_on_those_before_it() -> None:
    place = {room: number for number, room in enumerate(ORDER)}

    def room(module: str) -> str:
        return module.split(".")[1]

    against = [
        f"{module} imports {other}"
        for module, others in sorted(graph().items())
        for other in sorted(others)
        if room(module) != room(other) and place[room(other)] > place[room(module)]
    ]
    assert against == []


def test_policies_have_the_names_that_settings_know() -> None:
    from llm_gateway.config.catalogue import POLICIES
    from llm_gateway.engines import routing

    assert tuple(routing.POLICIES) == POLICIES
