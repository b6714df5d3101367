# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  components:
    description: Component descriptors (see C(docs/converge.md)), validated as a whole before anything is changed.
    type: list
    elements: dict
    required: true
  only:
    description: Only these components, with what they require; a list, or names separated by commas. Empty for all.
    type: raw
    default: []
"""
