# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that a catalogue needs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: wanted_images
short_description: The images that a catalogue needs, and no others
description: The images that are built here, and those of publishers that are mirrored, by the digests of the lock file.
options:
  _input:
    description: The model catalogue.
    type: list
    elements: dict
    required: true
  components:
    description: Descriptors, described with an empty C(platform_images).
    type: list
    elements: dict
    required: true
  lock_file:
    description: The lock file of the environment. It is an error where it lacks an image.
    type: path
    required: true
  base:
    description: The base of the images that are built here.
    type: str
    required: true
"""
EXAMPLES = r"""
needed: "{{ model_catalog | llm.on_eks.wanted_images(platform_components, platform_lock_file, 'docker.io/library/python:3.12-slim') }}"
"""
RETURN = r"""
_value:
  description: C(build), names of images; C(base), theirs; and C(mirror), references by their names in C(platform_images).
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError


def wanted_images(catalog: Any, components: Any, lock_file: str, base: str) -> dict[str, Any]:
    """See DOCUMENTATION."""
    # Imported when it is used: ansible-doc also loads filters where the packages of requirements.txt are missing.
    from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.lock_file import pinned_image
    from ansible_collections.llm.on_eks.plugins.plugin_utils.images.wanted import wanted

    file = Path(lock_file)
    try:
        found = wanted(catalog, components)
        mirror = {name: pinned_image(reference, file) for name, reference in found.mirror.items()}
        return {"build": list(found.build), "base": pinned_image(base, file) if found.build else base, "mirror": mirror}
    except LlmOnEksError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"wanted_images": wanted_images}
