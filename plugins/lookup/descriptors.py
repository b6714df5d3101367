# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: descriptors
short_description: What a role describes, from its template
description:
  - Renders a template of the role that runs, and reads it as YAML.
  - M(ansible.builtin.template) as a lookup copies all variables first. Descriptors are among them, so with forty roles that was a third of a run.
options:
  _terms:
    description: Name of the template, in the role's C(templates).
    type: list
    elements: str
    required: true
author:
  - llm.on_eks maintainers (@llm-on-eks)
"""

EXAMPLES = r"""
- name: Describe
  ansible.builtin.set_fact:
    kong_components: "{{ query('llm.on_eks.descriptors', 'components.yml.j2') }}"
"""

RETURN = r"""
_raw:
  description: Descriptors of components.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        return [component for name in terms for component in self._rendered(name, variables or {})]

    def _rendered(self, name: str, variables: Mapping[str, Any]) -> list[Any]:
        file = self.find_file_in_search_path(variables, "templates", name)
        if not file:
            raise AnsibleLookupError(f"the role has no template {name}")
        templar = self._templar.copy_with_new_env(searchpath=[str(Path(file).parent)], available_variables=variables)
        # Regular expressions in it keep their backslashes.
        text = templar.template(trust_as_template(self._loader.get_text_file_contents(file)), escape_backslashes=False)
        try:
            # The C loader takes no strings of Ansible's own type.
            found = yaml.load(text.encode(), Loader=_LOADER) if isinstance(text, str) else text  # noqa: S506
        except yaml.YAMLError as error:
            raise AnsibleLookupError(f"{file} is not YAML once rendered: {error}") from error
        return found or []
