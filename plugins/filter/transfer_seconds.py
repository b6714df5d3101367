# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a model's weights take over a wire."""

from __future__ import annotations

DOCUMENTATION = r"""
name: transfer_seconds
short_description: Seconds to move the weights of a model at a rate
description: The size is that of the file where it is known, otherwise it follows from the entry or the model's name.
options:
  _input:
    description: An entry of C(model_catalog).
    type: dict
    required: true
  mb_per_s:
    description: The rate in MB/s.
    type: float
    required: true
  size_bytes:
    description: Size of the file; 0 where it is not known.
    type: int
    default: 0
"""
EXAMPLES = r"""
seconds: "{{ entry | llm.on_eks.transfer_seconds(20) }}"
"""
RETURN = r"""
_value:
  description: Seconds; 0 where the size is not known.
  type: int
"""

from typing import Any

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines import size


def transfer_seconds(entry: Any, mb_per_s: Any, size_bytes: Any = 0) -> int:
    """See DOCUMENTATION."""
    return size.transfer_seconds(entry, float(mb_per_s), int(size_bytes))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"transfer_seconds": transfer_seconds}
