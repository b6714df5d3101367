# SPDX-License-Identifier: GPL-3.0-or-later
"""List what differs between two environments."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.differences import differences, table
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.loading import load
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_defaults, prefixes
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import plain

ROLES = Path(__file__).resolve().parents[2] / "roles"
display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "left": {"type": "str", "required": True},
    "right": {"type": "str", "required": True},
    "inventories": {"type": "path", "default": "inventories"},
    "fail": {"type": "bool", "default": False},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        inventories, ours = Path(options["inventories"]).absolute(), prefixes(ROLES)
        left, right = (load(str(options[side]), inventories, ours, self._loader) for side in ("left", "right"))
        found = differences(left, right, plain(load_defaults(ROLES, self._loader.load_from_file)))
        display.display(table(found, left.name, right.name))
        rows = [dataclasses.asdict(one) for one in found]
        unintended = [one.key for one in found if not one.intended]
        failed = bool(options["fail"] and unintended)
        why = (
            {"msg": f"{left.name} and {right.name} differ where nobody said so: {', '.join(unintended)}"}
            if failed
            else {}
        )
        return {**why, "failed": failed, "differences": rows}
