# SPDX-License-Identifier: GPL-3.0-or-later
"""Rule groups of Prometheus with the numbers of an environment."""

from __future__ import annotations

DOCUMENTATION = r"""
name: alert_rules
short_description: Rule groups of Prometheus with the numbers of an environment
description: Fills in numbers, leaves out alerts, adds the address of each alert's runbook.
options:
  _input:
    description: Rule groups, in which <name> stands for a number.
    type: list
    required: true
  numbers:
    description: The numbers by name.
    type: dict
    required: true
  "off":
    description: Alerts that are left out.
    type: list
  runbooks:
    description: Address of the page with a section for each alert.
    type: str
"""
EXAMPLES = r"""
groups: "{{ lookup('ansible.builtin.file', 'rules.yml') | from_yaml | llm.on_eks.alert_rules({'queue': 20}) }}"
"""
RETURN = r"""
_value:
  description: Rule groups.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import rules


def alert_rules(groups: Any, numbers: Any, off: Any = (), runbooks: str = "") -> Any:
    """See DOCUMENTATION."""
    try:
        return rules.with_numbers(groups, numbers, off, runbooks)
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"alert_rules": alert_rules}
