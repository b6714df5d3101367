# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Write the environment's release set, and show what moved
description:
  - Reads the archive of every chart that the components use from its source, and writes the digests to O(lock_file).
  - Asks for each model whose revision is a branch or a tag which commit that is now. E(HF_TOKEN) is the token for gated repositories.
  - Asks the registries which digest each image has that a component names by a tag, and the images in O(images).
  - Other runs check downloaded charts against these digests. An archive that changed under the same version is shown with C(!).
extends_documentation_fragment:
  - llm.on_eks.charts
options:
  components:
    description: Component descriptors.
    type: list
    elements: dict
    required: true
  models:
    description: The model catalogue.
    type: list
    elements: dict
    default: []
  images:
    description: Further images to lock, the base of our own for instance.
    type: list
    elements: str
    default: []
  hub_endpoint:
    description: A mirror of the Hub. When omitted, E(HF_ENDPOINT).
    type: str
    default: ""
  region:
    description: AWS region of the buckets in C(s3://) sources.
    type: str
    default: ""
  lock_file:
    description: The file to write; it must be given.
    type: path
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Shows what would move, and writes nothing.
    support: full
  diff_mode:
    description: What moved is always shown.
    support: none
"""

EXAMPLES = r"""
- name: Lock
  llm.on_eks.lock:
    components: "{{ platform_components }}"
    models: "{{ model_catalog }}"
    lock_file: inventories/prod/release.lock.yml
"""

RETURN = r"""
moved:
  description: One line for each chart, each branch or tag of a model, and each image that was added, removed or changed.
  returned: success
  type: list
  elements: str
file:
  description: The file.
  returned: success
  type: str
"""
