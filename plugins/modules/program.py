# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: program
short_description: Run one of our own programs, and show its progress while it runs
description:
  - Runs a program that writes its progress to standard error and ends with one JSON object on standard output.
  - Progress appears at once, not at the task's end; the JSON object is the result.
options:
  argv:
    description: The program and its arguments. Never put a secret here.
    type: list
    elements: str
    required: true
  chdir:
    description: Folder that it is started in.
    type: path
    required: true
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: The program runs all the same; the caller passes the program's own check option.
    support: partial
  diff_mode:
    description: Shows none.
    support: none
"""

EXAMPLES = r"""
- name: Obtain helm
  llm.on_eks.program:
    argv: ["{{ ansible_playbook_python }}", -m, tools.obtain, helm]
    chdir: "{{ role_path }}/../.."
"""

RETURN = r"""
answer:
  description: The JSON object that the program ended with; its C(changed) says whether anything was changed.
  returned: success
  type: dict
"""
