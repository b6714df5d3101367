# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what the user needs next at the end of a run."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.closing import Closing, render

display = Display()


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            argument_spec={
                "cluster": {"type": "str", "required": True},
                "converge": {"type": "dict", "default": {}},
                "verify": {"type": "dict", "default": {}},
                "stages": {"type": "dict", "default": {}},
            }
        )
        components = options["converge"].get("components") or {}
        verify = options["verify"]
        closing = Closing(
            cluster=options["cluster"],
            url=verify.get("url", ""),
            models=list(verify.get("models", [])),
            answer=verify.get("answer", ""),
            key_masked=verify.get("key_masked", ""),
            key_place=verify.get("key_place", ""),
            kubeconfig=verify.get("kubeconfig", ""),
            stages={name: float(seconds) for name, seconds in options["stages"].items()},
            changed={
                name: len(component.get("actions") or [])
                for name, component in components.items()
                if component.get("changed")
            },
        )
        display.display(render(closing))
        return {**result, "changed": False}
