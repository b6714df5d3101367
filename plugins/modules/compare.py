# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compare
short_description: List what differs between two environments
description:
  - Reads two inventories as Ansible does, and compares every variable of the collection as it is written, and the release sets.
  - A variable that only one of them sets is compared with its default. Values from a vault are never shown.
  - Patterns in C(platform_intended_differences) of either environment mark what is meant to differ.
options:
  left:
    description: Name of an environment, path of an inventory folder, or either with C(:CLUSTER).
    type: str
    required: true
  right:
    description: The other one.
    type: str
    required: true
  inventories:
    description: Folder with the inventories.
    type: path
    default: inventories
  fail:
    description: Fail where something differs that is not intended.
    type: bool
    default: false
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Does the same with and without.
    support: full
  diff_mode:
    description: What differs or moves is always shown.
    support: none
"""

EXAMPLES = r"""
- name: Staging beside production
  llm.on_eks.compare:
    left: staging
    right: prod
    fail: true
"""

RETURN = r"""
differences:
  description: "One entry for each key that differs: C(key), C(left), C(right), C(intended)."
  returned: success
  type: list
  elements: dict
"""
