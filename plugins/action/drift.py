# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports where the cluster differs from the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import drift
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    RUN_OPTIONS,
    aws_from,
    client_from,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.requests import comparison_from

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    **RUN_OPTIONS,
    "ignore": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"component": {"type": "str"}, "object": {"type": "str"}, "path": {"type": "str"}},
    },
    "out": {"type": "path", "default": ""},
    "fail": {"type": "bool", "default": False},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        ignore = [{key: value for key, value in rule.items() if value is not None} for rule in options["ignore"]]
        try:
            aws = aws_from(options)
            run = engine.converge(comparison_from(options, None if aws else client_from(options), aws))
            report = drift.report_of(run, options["cluster"], ignore)
        except LlmOnEksError as error:
            report = drift.failed(options["cluster"], str(error))
        files = drift.write(report, Path(options["out"])) if options["out"] else []
        display.display(drift.lines(report))
        said: dict[str, Any] = {"drift": msgspec.to_builtins(report), "files": [str(file) for file in files]}
        if report.state == "error":
            said.update(failed=True, msg="\n".join(report.errors))
        elif report.state == "drift" and options["fail"]:
            said.update(failed=True, msg=f"{len(report.findings)} objects have drifted from the inventory")
        return said
