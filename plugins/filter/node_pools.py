# SPDX-License-Identifier: GPL-3.0-or-later
"""Karpenter's node pools from the catalogue."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_pools
short_description: Karpenter's node pools from the catalogue
description:
  - One NodePool for each instance type in C(accelerators) of a model that is present. Types that models prefer get a higher weight.
  - As many nodes are allowed as the models may have pods on them, and some to spare.
options:
  _input:
    description: The catalogue.
    type: list
    elements: dict
    required: true
  settings:
    description: What all pools have in common, as role C(karpenter) gives it.
    type: dict
    required: true
  own:
    description: What goes over the C(spec) of single pools, by name.
    type: dict
"""
EXAMPLES = r"""
pools: "{{ model_catalog | llm.on_eks.node_pools(karpenter_pool_settings, karpenter_pools) }}"
"""
RETURN = r"""
_value:
  description: NodePools.
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.filter.engine_components import plain
from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.accelerators import InstanceTypesError
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError


def node_pools(catalog: Any, settings: Any, own: Any = None) -> Any:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.karpenter.pools import pools

    try:
        return pools(plain(catalog), plain(settings), plain(own or {}))
    except (LlmOnEksError, InstanceTypesError) as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"node_pools": node_pools}
