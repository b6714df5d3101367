# SPDX-License-Identifier: Apache-2.0
"""No two modules of the collection, the local cloud or the tools need each other. Imports for types alone count as well.

The gateway's own rooms are held to the same by gateway/tests/test_rooms.py.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.imports import imports, modules


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
