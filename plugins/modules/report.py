# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Print what the user needs next at the end of a run
description:
  - Prints URL, or the way to a gateway that has no address outside, where the key is, the models, one line to paste, what changed and
    the seconds of each stage.
  - No secret passes through it; the key is shown masked.
options:
  cluster:
    description: The cluster's name.
    type: str
    required: true
  converge:
    description: The result of M(llm.on_eks.converge).
    type: dict
    default: {}
  verify:
    description: The result of M(llm.on_eks.verify).
    type: dict
    default: {}
  stages:
    description: Seconds by stage.
    type: dict
    default: {}
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
- name: Report
  llm.on_eks.report:
    cluster: "{{ platform_cluster_name }}"
    converge: "{{ platform_converge }}"
    verify: "{{ platform_verify }}"
"""

RETURN = r""" # """
