# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Look at every input before anything is changed
description:
  - Checks all variables of this collection against the argument specs of its roles, and the model catalogue as a whole.
  - Reports everything that is wrong at once, with file and line where Ansible knows them. Changes nothing.
  - Unknown variables that begin with the name of one of our roles, or with C(platform_), are errors too.
author:
  - llm.on_eks maintainers
attributes:
  check_mode:
    description: Does the same with and without.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: Check the inputs
  llm.on_eks.preflight:
"""

RETURN = r"""
errors:
  description: One sentence for each input that must be mended.
  returned: always
  type: list
  elements: str
seconds:
  description: How long the check took.
  returned: always
  type: float
"""
