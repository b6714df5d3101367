# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: environment_choices
short_description: What can be chosen in an environment
description:
  - Reads an inventory as Ansible does, and returns its clusters, models and components.
options:
  _terms:
    description: Folders of inventories.
    required: true
    type: list
    elements: path
author:
  - llm.on_eks maintainers (@llm-on-eks)
"""

EXAMPLES = r"""
- name: What can be chosen in production
  ansible.builtin.debug:
    msg: "{{ lookup('llm.on_eks.environment_choices', 'inventories/prod') }}"
"""

RETURN = r"""
_raw:
  description: "For each folder a mapping: C(clusters), C(models), C(engines) (the models' components) and C(components)."
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.environments.choices import choices

ROLES = Path(__file__).resolve().parents[2] / "roles"


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        try:
            return [choices(Path(str(term)), ROLES, self._loader) for term in terms]
        except LlmOnEksError as error:
            raise AnsibleLookupError(str(error)) from error
