# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: cost
short_description: What a million tokens cost, by model and by key
description:
  - Costs of pods and idle nodes come from OpenCost, tokens from the gateway's counters in Prometheus. Both are reached through the Kubernetes API.
  - What belongs to no model is shared by what the models' own pods cost. The sums are the bill, to the cent.
  - Keys share the bill by their tokens.
extends_documentation_fragment:
  - llm.on_eks.kubernetes
  - llm.on_eks.aws_account
options:
  days:
    description: The period, up to the last full minute.
    type: int
    default: 30
  opencost:
    description: Namespace, Service and port of OpenCost.
    type: str
    default: opencost/opencost:9003
  prometheus:
    description: Namespace, Service and port of Prometheus.
    type: str
    default: monitoring/prometheus-operated:9090
  out:
    description: An HTML page to write; empty for none.
    type: path
    default: ""
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Nothing is changed; the page is not written.
    support: full
  diff_mode:
    description: Nothing is shown.
    support: none
"""

EXAMPLES = r"""
- name: The last month
  llm.on_eks.cost:
    out: cost.html
"""

RETURN = r"""
models:
  description: For each model C(name), C(total) in USD, C(tokens), and C(per_million) in USD, none without tokens.
  returned: success
  type: list
  elements: dict
api_keys:
  description: The same for each key.
  returned: success
  type: list
  elements: dict
known_hours:
  description: The hours of the period of which OpenCost knows anything.
  returned: success
  type: float
idle_share:
  description: The part of the bill that idle nodes are, 0 to 1.
  returned: success
  type: float
"""
