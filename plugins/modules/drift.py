# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: Report where the cluster differs from the inventory
description:
  - Compares the components with the cluster as M(llm.on_eks.converge) would, and reports who holds each field that differs, and since when.
  - Also reports fields that somebody added by hand to our objects; a run leaves those alone.
  - Changes nothing.
extends_documentation_fragment:
  - llm.on_eks.charts
  - llm.on_eks.components
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  ignore:
    description: Differences to ignore. Patterns may contain C(*) and C(?); a rule without O(ignore[].path) covers whole objects.
    type: list
    elements: dict
    default: []
    suboptions:
      component:
        description: Name of the component.
        type: str
      object:
        description: Kind and name, as the report writes them.
        type: str
      path:
        description: Path of the field, as the report writes it.
        type: str
  out:
    description: Folder that receives C(drift.json), C(drift.xml) (JUnit) and C(drift.html); empty for none.
    type: path
    default: ""
  fail:
    description: Fail when anything differs.
    type: bool
    default: false
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Does the same with and without.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Drift
  llm.on_eks.drift:
    cluster: prod
    components: "{{ platform_components }}"
    out: reports
    ignore:
      - {object: "Deployment llm-engines/*", path: spec.replicas}
"""

RETURN = r"""
drift:
  description: The report; its C(state) is none, drift or error.
  returned: always
  type: dict
files:
  description: Files that were written.
  returned: always
  type: list
  elements: str
"""
