# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Report what runs of each component, and whether it is healthy
description:
  - Compares the components with the cluster as M(llm.on_eks.converge) would, asks each workload for its state, and prints a table.
  - Changes nothing.
extends_documentation_fragment:
  - llm.on_eks.charts
  - llm.on_eks.components
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  programs:
    description: The programs of a local cluster and their states, shown above the table.
    type: dict
    default: {}
  front_door:
    description: Address at which clients reach the gateway, shown below the table.
    type: str
    default: ""
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
- name: Status
  llm.on_eks.status:
    kubeconfig: ~/.kube/config
    components: "{{ platform_components }}"
"""

RETURN = r"""
components:
  description: One entry a component, with its state, its workloads, their images and why it is not ready.
  returned: success
  type: list
  elements: dict
pages:
  description: How the pages of installed systems are opened and signed in to, as lines for people.
  returned: success
  type: list
  elements: str
"""
