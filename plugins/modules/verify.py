# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Ask each served model a question through the front door
description:
  - Reads the gateway's first key from its Secret, lists the models through the gateway and asks each one for a completion.
  - Runs the test hooks of charts that this run changed.
  - Fails unless every answer is a well-formed completion of that model with some text in it.
  - Writes O(endpoint_file) (mode 0600) for clients; the key appears nowhere else.
extends_documentation_fragment:
  - llm.on_eks.charts
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  front_door:
    description: Address at which clients reach the gateway.
    type: str
    required: true
  catalog:
    description: The model catalogue; entries that are absent or may scale to zero are not asked.
    type: list
    elements: dict
    default: []
  gateway_models:
    description: C(gateway_models); models that have a share of a name's C(split) may answer for it.
    type: dict
    default: {}
  endpoint_file:
    description: File that receives url, api_key, model, kubeconfig, cluster, aws_endpoint_url and aws_region; empty for none.
    type: path
    default: ""
  timeout:
    description: Seconds for one answer.
    type: int
    default: 120
  conformance:
    description:
      - Name of one model that is asked every question of the conformance suite instead, docs/engines.md has them.
      - Returns C(held), the questions that it holds, and C(not_asked), with the reason for each.
    type: str
    default: ""
  components:
    description: Component descriptors; the test hooks of the releases of those in O(changed) are run.
    type: list
    elements: dict
    default: []
  changed:
    description: Names of the components that this run changed.
    type: list
    elements: str
    default: []
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Asks nothing and writes nothing.
    support: full
  diff_mode:
    description: The endpoint file holds a key and is never shown.
    support: none
"""

EXAMPLES = r"""
- name: Verify
  llm.on_eks.verify:
    front_door: http://127.0.0.1:18080
    cluster: local
    kubeconfig: /var/lib/llm.on_eks/local/kubeconfig
    catalog: "{{ model_catalog }}"
"""

RETURN = r"""
url:
  description: The front door.
  returned: always
  type: str
models:
  description: Models that answered.
  returned: success
  type: list
  elements: str
answer:
  description: Prompt and text of the first answer.
  returned: success
  type: str
key_masked:
  description: Beginning and end of the key.
  returned: success
  type: str
key_place:
  description: The command that prints the key.
  returned: success
  type: str
seconds:
  description: How long it took.
  returned: always
  type: float
"""
