# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's engine as components."""

from __future__ import annotations

DOCUMENTATION = r"""
name: engine_components
short_description: The components that serve one model of the catalogue
description:
  - Deployment, headless Service, NetworkPolicy and PodDisruptionBudget of a model, the same for every engine.
  - Where the engine names how it compiles, the model's Neuron artifacts are a component before it.
  - An engine role gives what is its own; docs/engines.md has the contract, and how to add an engine.
options:
  _input:
    description: An entry of C(model_catalog).
    type: dict
    required: true
  engine:
    description: What the engine role says of this model's pods, the image and the arguments for instance.
    type: dict
    required: true
  file:
    description: What role C(models) says of the model's files; empty while it is removed.
    type: dict
"""
EXAMPLES = r"""
components: "{{ entry | llm.on_eks.engine_components({'name': 'vllm', 'image': image, 'args': args}, models_files[entry.name]) }}"
"""
RETURN = r"""
_value:
  description: Descriptors, as docs/converge.md says.
  type: list
  elements: dict
"""

import json
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError


def engine_components(entry: Any, engine: Any, file: Any = None) -> Any:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.contract import components

    try:
        return components(plain(entry), plain(engine), plain(file) or None)
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


def plain(value: Any) -> Any:
    """Ansible's lazy and tagged values as those of JSON."""

    def resolved(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {str(key): resolved(each) for key, each in one.items()}
        return [resolved(each) for each in one] if isinstance(one, list | tuple) else one

    return json.loads(json.dumps(resolved(value)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"engine_components": engine_components}
