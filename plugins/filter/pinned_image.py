# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest that the lock file has for an image."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pinned_image
short_description: An image's reference with the digest of the lock file
description: A reference that has a digest stays as it is.
options:
  _input:
    description: The reference.
    type: str
    required: true
  lock_file:
    description: The lock file of the environment. It is an error where it lacks the image.
    type: path
    required: true
"""
EXAMPLES = r"""
base: "{{ 'docker.io/library/python:3.12-slim' | llm.on_eks.pinned_image(platform_lock_file) }}"
"""
RETURN = r"""
_value:
  description: The reference, followed by C(@) and its digest.
  type: str
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError


def pinned_image(reference: str, lock_file: str) -> str:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import lock_file as locks

    try:
        return locks.pinned_image(str(reference), Path(lock_file))
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"pinned_image": pinned_image}
