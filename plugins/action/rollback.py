# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls one component back to a recorded revision."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import console
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import result_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    AWS_OPTIONS,
    CONNECTION_OPTIONS,
    aws_from,
    client_from,
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


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        run = rollback(
            client_from(options, aws_from(options)),
            options["component"],
            options["revision"],
            check=bool(self._task.check_mode),
            lock_timeout_s=options["lock_timeout"],
            lose_data=options["lose_data"],
            hooks=console.hooks(display.display),
        )
        return result_of(run, diff=self._task.diff)
