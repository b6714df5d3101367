# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what the user needs next at the end of a run."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.closing import Closing, render
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "required": True},
    "converge": {"type": "dict", "default": {}},
    "verify": {"type": "dict", "default": {}},
    "stages": {"type": "dict", "default": {}},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        components = options["converge"].get("components") or {}
        verify = options["verify"]
        gateway = components.get("gateway") or {}
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
            inside=not self._task.check_mode and gateway.get("state") == "present",
        )
        display.display(render(closing))
        return {}
