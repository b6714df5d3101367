# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Roll one component back to a recorded revision
description:
  - Applies the objects of a revision that M(llm.on_eks.converge) recorded, deletes objects that the revision did not have, and records the result.
  - Values of Secrets and finished Jobs stay as they are; CRDs are never rolled back.
  - The next converge from the inventory goes forward again, so correct the inventory, too.
extends_documentation_fragment:
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  component:
    description: Name of the component.
    type: str
    required: true
  revision:
    description: Number of the revision; V(-1) is the one before the newest.
    type: int
    default: -1
  lose_data:
    description: What may be deleted although its data is lost, as in M(llm.on_eks.converge).
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another run on the same cluster before giving up.
    type: int
    default: 300
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Plans, and writes nothing.
    support: full
  diff_mode:
    description: Shows every object before and after.
    support: full
"""

EXAMPLES = r"""
- name: Take the gateway back by one revision
  llm.on_eks.rollback:
    component: gateway
"""

RETURN = r"""
components:
  description: As M(llm.on_eks.converge) returns it.
  returned: always
  type: dict
"""
