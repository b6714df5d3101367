# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists everything in an AWS account that carries a cluster's mark, and what it costs."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible.utils.display import Display

from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import Census, census
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.action import Action
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import AWS_OPTIONS, aws_from

display = Display()
ARGUMENTS: dict[str, dict[str, Any]] = {
    **AWS_OPTIONS,
    "components": {"type": "list", "elements": "dict", "default": []},
    "expect_none": {"type": "bool", "default": False},
}


class ActionModule(Action):
    arguments = ARGUMENTS

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        aws = aws_from(options)
        if aws is None:
            return {
                "resources": [],
                "skipped": True,
                "msg": "aws.region is not set; there is no account",
            }
        found = census(aws.connection, aws.cluster)
        left = _not_kept(found, options["components"])
        head = f"  {aws.cluster} in {aws.connection.region}: "
        table = found.table()
        display.display(
            "\n".join(
                [
                    head + ("what carries its mark" if found.items else "nothing carries its mark"),
                    *(f"  {line}" for line in table),
                ]
            )
        )
        said: dict[str, Any] = {
            "resources": [dataclasses.asdict(item) for item in found.items],
            "price_per_hour": found.price_per_hour,
            "unseen": list(found.unseen),
        }
        if options["expect_none"] and (left or found.unseen):
            named = ", ".join(f"{item.kind} {item.name or item.id}" for item in left[:5])
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            what = (
                f"{named}{more} still carry the mark of {aws.cluster}; run destroy.yml again"
                if left
                else found.unseen[0]
            )
            said.update(failed=True, msg=what)
        return said


def _not_kept(found: Census, components: list[dict[str, Any]]) -> list[Any]:
    """The items without those of a component's types that the component retains."""
    kept = {
        (component["name"], entry["type"])
        for component in components
        for entry in component.get("aws") or []
        if entry.get("retain")
    }
    return [item for item in found.items if (item.component, item.kind) not in kept]
