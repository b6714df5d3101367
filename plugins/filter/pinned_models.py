# SPDX-License-Identifier: GPL-3.0-or-later
"""Catalogue entries with the revisions of the lock file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pinned_models
short_description: Catalogue entries with the commits that their branches and tags stand for
description:
  - The lock file of the environment says which commit a branch or tag stands for; C(playbooks/lock.yml) writes it.
  - What it lacks is left as it is, and preflight refuses it.
options:
  _input:
    description: Entries of C(model_catalog).
    type: list
    elements: dict
    required: true
  lock_file:
    description: The lock file.
    type: path
    required: true
  locking:
    description: Give the entries that are not locked yet a revision of zeros, so that they can be described while they are being locked.
    type: bool
    default: false
"""
EXAMPLES = r"""
entries: "{{ model_catalog | llm.on_eks.pinned_models(platform_lock_file) }}"
"""
RETURN = r"""
_value:
  description: The entries.
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError


def pinned_models(catalog: Any, lock_file: str, *, locking: bool = False) -> list[Any]:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.models import pins

    try:
        found = pins.pinned(catalog, Path(lock_file))
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem
    return [{**one, "revision": _placeholder(one)} if locking and pins.unpinned(one) else one for one in found]


def _placeholder(entry: Any) -> str:
    return "0" * 40 if str(entry["source"]).startswith("hf://") else "sha256:" + "0" * 64


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"pinned_models": pinned_models}
