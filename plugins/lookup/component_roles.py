# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: component_roles
short_description: The roles that describe components, in the order in which they are described
description:
  - Finds every role of the collection that has C(templates/components.yml.j2).
  - A role may say three things in its C(vars/main.yml). C(ROLE_needs) lists the roles whose facts its template reads, which are described before it.
    C(ROLE_scope) is V(eks) where it exists only in a graph that begins with AWS, or V(account) for what an account has once.
    C(ROLE_facts) is what it publishes for others.
options:
  _terms:
    description: Only these roles, and what they need. Without any, all that a cluster has.
    type: list
    elements: str
  provider:
    description: Where the graph begins, as C(platform_provider) says it; roles of the scope V(eks) are left out of V(existing).
    type: str
    choices: [eks, existing]
    default: existing
  scope:
    description: Only roles of this scope, and what they need.
    type: str
    choices: [eks, account]
  skipped:
    description:
      - V(false) leaves out the roles that are skipped by their defaults and by the inventory, unless another role needs them. V(true) gives only these.
      - Without it all roles are given.
    type: bool
author:
  - llm.on_eks maintainers (@llm-on-eks)
"""

EXAMPLES = r"""
- name: Describe every component
  ansible.builtin.include_role:
    name: "llm.on_eks.{{ component_role }}"
    tasks_from: describe
  loop: "{{ query('llm.on_eks.component_roles', provider=platform_provider) }}"
  loop_control:
    loop_var: component_role
"""

RETURN = r"""
_raw:
  description: Names of roles, each behind those that it needs.
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.component_roles import (
    ComponentRole,
    ComponentRolesError,
    discover,
    in_order,
    left_out,
)

ROLES = Path(__file__).resolve().parents[2] / "roles"


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        skipped, scope = self.get_option("skipped"), self.get_option("scope") or ""
        try:
            roles = discover(ROLES)
            names = in_order(roles, list(terms), provider=self.get_option("provider"), scope=scope)
        except ComponentRolesError as error:
            raise AnsibleLookupError(str(error)) from error
        if skipped is None:
            return names
        left = left_out(roles, names, lambda role: self._state(role, variables or {}))
        return left if skipped else [name for name in names if name not in left]

    def _state(self, role: ComponentRole, variables: dict[str, Any]) -> str:
        return str(self._templar.template(variables.get(f"{role.name}_state", role.state)))
