# SPDX-License-Identifier: Apache-2.0
"""Who imports whom in the checkout, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

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


def with_imports(names: Iterable[str], known: dict[str, Path]) -> set[str]:
    """These modules and all that they import, directly or not."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= imports(name, known[name], known) - found
    return found
