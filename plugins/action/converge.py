# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring described components about, as one graph."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.graph import Done
from ansible_collections.llm.on_eks.plugins.plugin_utils.options import (
    CONNECTION_OPTIONS,
    client_from,
    names_from,
    plain,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.report import node_line, result_of

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "components": {"type": "list", "elements": "dict", "required": True},
    "only": {"type": "raw", "default": []},
    "concurrency": {"type": "int", "default": 6},
    "assume_empty": {"type": "bool", "default": False},
    **CONNECTION_OPTIONS,
}


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        check = bool(self._task.check_mode)
        try:
            run = engine.converge(
                plain(options["components"]),
                None if check and options["assume_empty"] else client_from(options),
                check=check,
                only=names_from(options["only"]),
                concurrency=options["concurrency"],
                finished=lambda done: self._tell(done, check),
            )
        except LlmOnEksError as error:
            return {**result, "failed": True, "changed": False, "msg": f"{error}", "components": {}}
        return {**result, **result_of(run, diff=self._task.diff)}

    @staticmethod
    def _tell(done: Done, check: bool) -> None:
        line = node_line(done, check)
        if line:
            display.display(line, color="red" if done.state == "failed" else None)
