# SPDX-License-Identifier: GPL-3.0-or-later
"""Which notifications role awx_config must write."""

from __future__ import annotations

DOCUMENTATION = r"""
name: awx_outdated
short_description: Notifications that AWX does not have as they are wanted
description:
  - AWX does not show the secret parts of a notification. They count as equal, so that a second run changes nothing.
options:
  _input:
    description: "Notifications, as in C(awx_config_notifications)."
    type: list
    elements: dict
    required: true
  found:
    description: The notification templates that AWX lists.
    type: list
    elements: dict
    required: true
  renew:
    description: Return all of them, to write their secrets again.
    type: bool
    default: false
"""
EXAMPLES = r"""
wanted: "{{ awx_config_notifications | llm.on_eks.awx_outdated(query('awx.awx.controller_api', 'notification_templates')) }}"
"""
RETURN = r"""
_value:
  description: Those of the input that must be written.
  type: list
  elements: dict
"""

from typing import Any


def awx_outdated(wanted: Any, found: Any, renew: bool = False) -> list[dict[str, Any]]:
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.awx import outdated
    from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import plain

    return outdated(plain(wanted), plain(found), renew)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"awx_outdated": awx_outdated}
