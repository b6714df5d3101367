# SPDX-License-Identifier: GPL-3.0-or-later
"""What our action plugins share: checked arguments, and one sentence where something is wrong."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase

from ...module_utils.errors import LlmOnEksError
from .options import plain


class Action(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`arguments`: the module's argument spec. `constraints`: of several arguments, as AnsibleModule takes them."""

    _requires_connection = False
    _supports_check_mode = True
    arguments: ClassVar[dict[str, dict[str, Any]]]
    constraints: ClassVar[dict[str, Any]] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        # Ansible has forked for this task: what it had loaded is not garbage. Not to search it saved a fifth of converge's CPU time.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        result: dict[str, Any] = super().run(tmp, task_vars)
        __, given = self.validate_argument_spec(argument_spec=self.arguments, **self.constraints)
        try:
            said = self.answer(plain(given))
        except LlmOnEksError as error:
            said = {"failed": True, "msg": str(error)}
        return {**result, "changed": False, **said}

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        """The task's result. An LlmOnEksError fails the task with its sentence."""
        raise NotImplementedError
