# SPDX-License-Identifier: GPL-3.0-or-later
"""Converges the described components, as one graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import console, run_report
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import result_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine, run_plan
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    RUN_OPTIONS,
    aws_from,
    client_from,
)
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.requests import request_from

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    **RUN_OPTIONS,
    "concurrency": {"type": "int", "default": 6},
    "lose_data": {"type": "list", "elements": "str", "default": []},
    "assume_empty": {"type": "bool", "default": False},
    "lock_timeout": {"type": "int", "default": 300},
    "plan_out": {"type": "path", "default": ""},
    "plan_return": {"type": "bool", "default": False},
    "plan_file": {"type": "path", "default": ""},
    "plan_text": {"type": "str", "default": ""},
    "report_out": {"type": "path", "default": ""},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        check = bool(self._task.check_mode)
        empty = check and options["assume_empty"]
        aws = aws_from(options, empty=empty)
        request = request_from(
            options,
            None if aws or empty else client_from(options),
            aws,
            check=check,
            concurrency=options["concurrency"],
            lock_timeout_s=options["lock_timeout"],
            expect=None if check else _expected(options),
            lose_data=options["lose_data"],
            hooks=console.hooks(display.display),
        )
        run = engine.converge(request)
        said = result_of(run, diff=self._task.diff)
        if check:
            planned = run_plan.plan_of(run)
            display.display(run_plan.table(planned))
            said["plan"] = {"digest": planned.digest, "table": run_plan.table(planned)}
            if options["plan_return"] and not run.errors:
                said["plan"]["text"] = run_plan.text(planned)
            if options["plan_out"] and not run.errors:
                run_plan.write(planned, Path(options["plan_out"]))
        elif options["report_out"]:
            run_report.write(run, Path(options["report_out"]))
        return said


def _expected(options: dict[str, Any]) -> run_plan.Plan | None:
    """The plan that the run has to be; None where none is given."""
    if options["plan_text"]:
        return run_plan.parse(options["plan_text"], "plan_text")
    return run_plan.read(Path(options["plan_file"])) if options["plan_file"] else None
