# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports what models and keys cost."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import cost
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import (
    AWS_OPTIONS,
    CONNECTION_OPTIONS,
    aws_from,
    client_from,
)

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "days": {"type": "int", "default": 30},
    "opencost": {"type": "str", "default": "opencost/opencost:9003"},
    "prometheus": {"type": "str", "default": "monitoring/prometheus-operated:9090"},
    "out": {"type": "path", "default": ""},
    **CONNECTION_OPTIONS,
    **AWS_OPTIONS,
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["days"] < 1:
            raise cost.CostError(
                f"days: {options['days']} is no period; give 1 or more (report_days of playbooks/report.yml)"
            )
        client, now = client_from(options, aws_from(options)), datetime.datetime.now(datetime.UTC)
        places = {name: options[name] for name in ("opencost", "prometheus")}
        spent = cost.ask(client, options["days"], until=now, **places)
        display.display(cost.render(spent, options["days"]))
        if options["out"] and not self._task.check_mode:
            page = cost.page(spent, options["cluster"], options["days"], now.date().isoformat())
            write_whole(Path(options["out"]), page.encode())
        rows = {"models": cost.by_model(spent), "api_keys": cost.by_key(spent)}
        return {
            "idle_share": float(cost.idle_share(spent)),
            "known_hours": round(min(spent.known, options["days"] * 24), 1),
            **{kind: [_plain(row) for row in found] for kind, found in rows.items()},
        }


def _plain(row: cost.Row) -> dict[str, Any]:
    million = None if row.per_million is None else str(row.per_million)
    return {"name": row.name, "total": str(row.total), "tokens": row.tokens, "per_million": million}
