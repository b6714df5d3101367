# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports the status of each component: its state and revision."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks.lease import last_run
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.status import pages_of, render, status
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
    "programs": {"type": "dict", "default": {}},
    "front_door": {"type": "str", "default": ""},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        aws = aws_from(options)
        client = client_from(options, aws)
        rows = status(client, engine.converge(comparison_from(options, client, aws)))
        when, __ = last_run(client)
        pages = pages_of(parse(options["components"]), rows)
        display.display(render(rows, options["programs"], options["front_door"], when, pages))
        return {"components": [dataclasses.asdict(row) for row in rows], "pages": pages}
