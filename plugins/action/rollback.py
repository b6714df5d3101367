# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls one component back to a recorded revision."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import console
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import result_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    AWS_OPTIONS,
    CONNECTION_OPTIONS,
    aws_from,
    client_from,
    plain,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.rollback import rollback

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "component": {"type": "str", "required": True},
    "revision": {"type": "int", "default": -1},
    "lose_data": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": {"type": "int", "default": 300},
    **CONNECTION_OPTIONS,
    **AWS_OPTIONS,
}


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        options = plain(given)
        try:
            run = rollback(
                client_from(options, aws_from(options)),
                options["component"],
                options["revision"],
                check=bool(self._task.check_mode),
                lock_timeout_s=options["lock_timeout"],
                lose_data=options["lose_data"],
                hooks=console.hooks(display.display),
            )
        except LlmOnEksError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}
        return {**result, **result_of(run, diff=self._task.diff)}
