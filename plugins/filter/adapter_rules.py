# SPDX-License-Identifier: GPL-3.0-or-later
"""What prometheus-adapter offers to autoscalers."""

from __future__ import annotations

DOCUMENTATION = r"""
name: adapter_rules
short_description: What prometheus-adapter offers to autoscalers
description: A custom rule for each signal of the catalogue, and one for the walk-through's C(tgi_request_per_second).
options:
  _input:
    description: Signals, as in C(autoscaling) of the catalogue.
    type: list
    elements: str
    required: true
"""
EXAMPLES = r"""
custom: "{{ ['requests'] | llm.on_eks.adapter_rules }}"
"""
RETURN = r"""
_value:
  description: Rules.
  type: list
  elements: dict
"""

from typing import Any


def adapter_rules(signals: Any) -> Any:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import scaling

    return scaling.adapter_rules(list(signals))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"adapter_rules": adapter_rules}
