# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: new_environment
short_description: Write the inventory of a new environment
description:
  - Copies an inventory folder, and gives the copy its own cluster name and an address range that no environment beside it has.
  - Prints with file and line what only you know. Files with secrets (vaults) and the release set are not copied.
options:
  name:
    description: Name of the environment and of its folder. Its cluster is called C(llm-NAME).
    type: str
    required: true
  like:
    description: "The environment to copy: one of yours, or V(dev), V(staging), V(prod) of the collection."
    type: str
    default: staging
  region:
    description: AWS region of the new environment; empty for that of O(like).
    type: str
    default: ""
  inventories:
    description: Folder with the inventories.
    type: path
    default: inventories
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Lists the files, and writes none.
    support: full
  diff_mode:
    description: What differs or moves is always shown.
    support: none
"""

EXAMPLES = r"""
- name: A production in Europe
  llm.on_eks.new_environment:
    name: prod-eu
    like: prod
    region: eu-central-1
"""

RETURN = r"""
files:
  description: The files.
  returned: success
  type: list
  elements: str
asked:
  description: What only the owner knows, with file and line.
  returned: success
  type: list
  elements: str
left_out:
  description: Files with secrets, which were not copied.
  returned: success
  type: list
  elements: str
"""
