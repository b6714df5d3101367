# SPDX-License-Identifier: GPL-3.0-or-later
"""List what differs between two environments."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.differences import differences, table
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.loading import load
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import load_defaults, prefixes
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import plain

ROLES = Path(__file__).resolve().parents[2] / "roles"
display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "left": {"type": "str", "required": True},
    "right": {"type": "str", "required": True},
    "inventories": {"type": "path", "default": "inventories"},
    "fail": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        inventories, ours = Path(options["inventories"]).absolute(), prefixes(ROLES)
        try:
            left, right = (load(str(options[side]), inventories, ours, self._loader) for side in ("left", "right"))
        except (LlmOnEksError, AnsibleError) as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
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
        return {**result, **why, "failed": failed, "changed": False, "differences": rows}
