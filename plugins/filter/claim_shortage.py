# SPDX-License-Identifier: GPL-3.0-or-later
"""What a claim lacks for the catalogue's models."""

from __future__ import annotations

DOCUMENTATION = r"""
name: claim_shortage
short_description: What a claim lacks for the catalogue's models
description: A sentence where the models whose sizes are known are larger than the claim; otherwise an empty text.
options:
  _input:
    description: What M(llm.on_eks.model_sync) said of each model, by its name.
    type: dict
    required: true
  size:
    description: The claim's size, as a quantity of Kubernetes.
    type: str
    required: true
"""
EXAMPLES = r"""
missing: "{{ models_looked_at | llm.on_eks.claim_shortage('100Gi') }}"
"""
RETURN = r"""
_value:
  description: The sentence, or nothing.
  type: str
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.models.claim import shortage


def claim_shortage(files: Any, size: str) -> str:
    """See DOCUMENTATION."""
    try:
        return shortage(files, str(size))
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"claim_shortage": claim_shortage}
