# SPDX-License-Identifier: GPL-3.0-or-later
"""What the AWS modules of this collection share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  state:
    description:
      - V(present) creates it and keeps it as described; options that are not given stay as they are.
      - V(absent) removes it.
    type: str
    choices: [present, absent]
    default: present
  tags:
    description: Tags to set. Others stay, unless O(purge_tags=true).
    type: dict
  purge_tags:
    description: Whether tags that are not given are removed. Those that AWS reserves (C(aws:)) always stay.
    type: bool
    default: false
  wait:
    description: Whether to wait until it is ready, or gone.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait. Default is what AWS may take for this kind of resource.
    type: int
  owner:
    description:
      - Marks it with the tags C(llm.on_eks/cluster) and C(llm.on_eks/component).
      - A resource without the mark of this cluster is then neither changed nor removed.
    type: dict
    suboptions:
      cluster:
        description: The cluster that it belongs to.
        type: str
        required: true
      component:
        description: The component that it belongs to.
        type: str
        required: true
attributes:
  check_mode:
    description: Predicts the exact changes; nothing is changed.
    support: full
  diff_mode:
    description: Shows the compared fields and tags before and after.
    support: full
"""
