# SPDX-License-Identifier: GPL-3.0-or-later
"""Grafana's dashboards from a list of panels."""

from __future__ import annotations

DOCUMENTATION = r"""
name: dashboards
short_description: Grafana's dashboards from a list of panels
description: One panel list is used for Grafana, for checks of the queries, and for pages without Grafana.
options:
  _input:
    description: Dashboards with C(name), C(title) and C(panels).
    type: list
    required: true
"""
EXAMPLES = r"""
boards: "{{ lookup('ansible.builtin.file', 'panels.yml') | from_yaml | llm.on_eks.dashboards }}"
"""
RETURN = r"""
_value:
  description: C(name) and C(json) of each.
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring.dashboards import dashboards as made


def dashboards(listed: Any) -> Any:
    """See DOCUMENTATION."""
    return made(listed)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"dashboards": dashboards}
