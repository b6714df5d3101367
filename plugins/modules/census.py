# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: census
short_description: List what carries a cluster's mark in an AWS account, and what it costs
description:
  - Lists every service to its last page and keeps what is tagged C(llm.on_eks/cluster) with the cluster's name. Nothing is changed.
  - C(destroy.yml) ends with it, to check that nothing is left. At any time it shows what a cluster consists of.
extends_documentation_fragment:
  - llm.on_eks.aws_account
options:
  components:
    description: Component descriptors; resources that they C(retain) may exist.
    type: list
    elements: dict
    default: []
  expect_none:
    description: Fail if there is anything that no component retains, or if a service could not be read.
    type: bool
    default: false
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Changes nothing, in check mode or without.
    support: full
"""

EXAMPLES = r"""
- name: What the cluster consists of, and its price
  llm.on_eks.census:
    cluster: prod
    aws: {region: eu-central-1}
"""

RETURN = r"""
resources:
  description: What was found, each with C(kind), C(id), C(name), C(component), C(state) and C(price_per_hour) (USD; null where it is not known).
  returned: success
  type: list
  elements: dict
price_per_hour:
  description: Sum of the known prices in USD.
  returned: success
  type: float
unseen:
  description: What could not be read, as sentences.
  returned: success
  type: list
  elements: str
"""
