# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of Alertmanager, one for each receiver."""

from __future__ import annotations

DOCUMENTATION = r"""
name: alert_routes
short_description: Routes of Alertmanager, one for each receiver
description: An alert goes to all receivers that take its severity.
options:
  _input:
    description: Receivers as in C(prometheus_alert_receivers).
    type: list
    required: true
"""
EXAMPLES = r"""
routes: "{{ prometheus_alert_receivers | llm.on_eks.alert_routes }}"
"""
RETURN = r"""
_value:
  description: Routes.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import rules


def alert_routes(receivers: Any) -> Any:
    """See DOCUMENTATION."""
    try:
        return rules.routes(receivers)
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"alert_routes": alert_routes}
