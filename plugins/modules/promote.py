# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: promote
short_description: Move the release set of one environment to another
description:
  - "Moves what says which bytes run: the lock file, the revisions of models that both serve, images and versions."
  - Comments and order in the target's files stay. Image references keep the registry that the target uses.
  - "C(cluster_version) does not move: an upgrade of Kubernetes is a step of its own."
options:
  source:
    description: Name of an environment, path of an inventory folder, or either with C(:CLUSTER).
    type: str
    required: true
  target:
    description: The environment that receives the release set.
    type: str
    required: true
  inventories:
    description: Folder with the inventories.
    type: path
    default: inventories
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Shows what would move, and writes nothing.
    support: full
  diff_mode:
    description: What differs or moves is always shown.
    support: none
"""

EXAMPLES = r"""
- name: What staging runs goes to production
  llm.on_eks.promote:
    source: staging
    target: prod
"""

RETURN = r"""
moved:
  description: One line for each pin that moved.
  returned: success
  type: list
  elements: str
left:
  description: One line for each pin that stays, with the reason.
  returned: success
  type: list
  elements: str
"""
