# SPDX-License-Identifier: Apache-2.0
"""`keep: {file: …, text: …}` writes a file within the task's own process. The module copy would start Python twice."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        Path(self._task.args["file"]).write_text(self._task.args["text"])
        return {**result, "changed": True}
