# SPDX-License-Identifier: Apache-2.0
"""No two modules of the collection, the local cloud or the tools need each other. Imports for types alone count as well.

The gateway's own rooms are held to the same by gateway/tests/test_rooms.py.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.llm.on_eks."


def modules(root: str) -> dict[str, Path]:
    """All modules below a folder of the checkout, by their dotted names."""
    found = {}
    for path in sorted((REPO / root).rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The known modules that one module imports, wherever in it. Its own package does not count."""
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix(COLLECTION) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, node.module] if node.module else above).removeprefix(COLLECTION)
            whole = {alias.name: f"{module}.{alias.name}" for alias in node.names}
            found |= {one if one in known else module for one in whole.values()}
    parents = {".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 1)}
    return (found & set(known)) - parents - {name}


@pytest.mark.parametrize("root", ["plugins", "local", "tools"])
def test_no_two_modules_need_each_other(root: str) -> None:
    known = modules(root)
    assert known
    try:
        TopologicalSorter({name: imports(name, path, known) for name, path in known.items()}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_what_modules_share_knows_nothing_of_the_controller() -> None:
    """module_utils is packed into modules and Jobs: plugin_utils is not there."""
    known = modules("plugins")
    against = [
        f"{name} imports {other}"
        for name, path in known.items()
        if name.startswith("plugins.module_utils.")
        for other in sorted(imports(name, path, known))
        if other.startswith(("plugins.plugin_utils", "plugins.action"))
    ]
    assert against == []
