# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model computes on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: accelerator_kind
short_description: Whether a model computes on processors, on GPUs or on Neuron devices
description: The first of an entry's C(accelerators) decides.
options:
  _input:
    description: An entry of C(model_catalog).
    type: dict
    required: true
"""
EXAMPLES = r"""
kind: "{{ entry | llm.on_eks.accelerator_kind }}"
"""
RETURN = r"""
_value:
  description: V(cpu), V(gpu) or V(neuron).
  type: str
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.accelerator import accelerator_of


def accelerator_kind(entry: Any) -> str:
    """`cpu`, `gpu` or `neuron`."""
    try:
        return accelerator_of(entry).kind
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"accelerator_kind": accelerator_kind}
