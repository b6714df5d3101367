# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers as Alertmanager has them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: alert_receivers
short_description: Receivers as Alertmanager has them
description: The name, and beside it what stands in C(config).
options:
  _input:
    description: Receivers as in C(prometheus_alert_receivers).
    type: list
    required: true
"""
EXAMPLES = r"""
receivers: "{{ prometheus_alert_receivers | llm.on_eks.alert_receivers }}"
"""
RETURN = r"""
_value:
  description: Receivers.
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import rules


def alert_receivers(receivers: Any) -> Any:
    """See DOCUMENTATION."""
    return rules.receivers(receivers)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"alert_receivers": alert_receivers}
