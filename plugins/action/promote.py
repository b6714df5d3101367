# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the release set of one environment to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.loading import load
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.release_set import promotion
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import lock_file
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.specs import prefixes
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action

ROLES = Path(__file__).resolve().parents[2] / "roles"
display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "source": {"type": "str", "required": True},
    "target": {"type": "str", "required": True},
    "inventories": {"type": "path", "default": "inventories"},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        inventories, ours = Path(options["inventories"]).absolute(), prefixes(ROLES)
        source, target = (load(str(options[side]), inventories, ours, self._loader) for side in ("source", "target"))
        made = promotion(source, target)
        lines = [*made.moved, *(f"= {line}" for line in made.left)]
        display.display(
            "\n".join(f"  {line}" for line in lines) or f"  {target.name} has the release set of {source.name}"
        )
        if not self._task.check_mode:
            for file, text in made.files.items():
                write_whole(file, text)
            if source.lock.charts and source.lock != target.lock:
                lock_file.write(source.lock, target.lock_path)
        return {"changed": bool(made.moved), "moved": made.moved, "left": made.left}
