# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that role awx_config makes in AWX, as data."""

from __future__ import annotations

DOCUMENTATION = r"""
name: awx_objects
short_description: What the platform is in AWX
description:
  - Combines the environments and what can be chosen in each with the templates of role C(awx_config).
options:
  _input:
    description: The role's inputs, without their prefix.
    type: dict
    required: true
  choices:
    description: "Name of an environment → what C(environment_choices) found in it."
    type: dict
    required: true
  blueprint:
    description: "What is the same for all environments: C(mark), C(templates), C(questions), C(steps)."
    type: dict
    required: true
"""
EXAMPLES = r"""
objects: "{{ inputs | llm.on_eks.awx_objects(choices, blueprint) }}"
"""
RETURN = r"""
_value:
  description: >-
    C(inventories), C(job_templates), C(workflows), C(nodes), C(schedules), C(grants), C(results) (who hears of what), and C(names) of all
    objects by kind.
  type: dict
"""

from typing import Any


def awx_objects(inputs: Any, choices: Any, blueprint: Any) -> dict[str, Any]:
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.awx import objects
    from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import plain

    return objects(plain(inputs), plain(choices), plain(blueprint))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"awx_objects": awx_objects}
