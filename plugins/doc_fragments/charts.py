# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  chart_mirror:
    description: Folder with charts as C(NAME-VERSION.tgz), asked before their repositories; empty for none.
    type: path
    default: ""
  helm:
    description: The Helm binary that renders charts; empty for the one in the collection's cache, or on the PATH.
    type: path
    default: ""
  lock_file:
    description: The environment's C(release.lock.yml), against whose digests downloaded charts are checked; empty for none.
    type: path
    default: ""
"""
