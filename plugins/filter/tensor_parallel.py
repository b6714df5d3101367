# SPDX-License-Identifier: GPL-3.0-or-later
"""Over how many devices a model is spread."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tensor_parallel
short_description: Over how many GPUs or NeuronCores of a pod a model is spread
description: What the entry says; else 2 on Neuron, whose smallest device has two cores, and 1 elsewhere.
options:
  _input:
    description: An entry of C(model_catalog).
    type: dict
    required: true
"""
EXAMPLES = r"""
devices: "{{ entry | llm.on_eks.tensor_parallel }}"
"""
RETURN = r"""
_value:
  description: The number of devices.
  type: int
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.accelerator import parallel_of


def tensor_parallel(entry: Any) -> int:
    """GPUs or NeuronCores."""
    try:
        return parallel_of(entry)
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"tensor_parallel": tensor_parallel}
