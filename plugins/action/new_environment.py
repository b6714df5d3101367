# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the inventory of a new environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments import new
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.environment import find
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action

COLLECTION = Path(__file__).resolve().parents[2]
display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "like": {"type": "str", "default": "staging"},
    "region": {"type": "str", "default": ""},
    "inventories": {"type": "path", "default": "inventories"},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        inventories = Path(options["inventories"]).absolute()
        like = self._like(str(options["like"]), inventories)
        schema = COLLECTION / "docs" / "inventory.schema.json"
        files = new.files(str(options["name"]), like, inventories, str(options["region"]), schema)
        for file, text in files.items() if not self._task.check_mode else ():
            write_whole(file, text)
        asked, secret = new.asked(files), new.left_out(like)
        display.display(self._page(inventories / options["name"], list(files), asked, secret))
        return {"changed": True, "files": [str(file) for file in files], "asked": asked, "left_out": secret}

    def _like(self, name: str, inventories: Path) -> Path:
        """Your own environment of this name; otherwise the one that comes with the collection."""
        own = inventories if (inventories / name).is_dir() or "/" in name else COLLECTION / "inventories"
        return find(name, own)[0]

    def _page(self, target: Path, files: list[Path], asked: list[str], secret: list[str]) -> str:
        verb = "would be written" if self._task.check_mode else "written"
        lines = [f"  {file} {verb}" for file in files]
        lines += [f"  {file} holds secrets: not copied" for file in secret]
        lines += ["", "  What only you know:", *(f"  {line}" for line in asked)] if asked else []
        page = "\n".join([*lines, "", f"  Then: ansible-playbook -i {target} llm.on_eks.preflight"])
        return page.replace(f"{Path.cwd()}/", "")
