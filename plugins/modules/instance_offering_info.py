# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_offering_info
short_description: Say which zones offer instance types, and what these have
description:
  - For each instance type the zones of the region that have it, its vCPUs, memory, accelerators, local storage and an estimated price.
  - A type that the region does not have is listed with no zones.
options:
  instance_types:
    description: The instance types.
    type: list
    elements: str
    required: true
  prices:
    description: Own prices, instance type to USD per hour; they go before the estimates that the collection carries.
    type: dict
    default: {}
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Reads only, and does the same with and without.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Where accelerators can be had
  llm.on_eks.instance_offering_info:
    instance_types: [g6.xlarge, inf2.xlarge]
  register: offers
"""

RETURN = r"""
offerings:
  description: One entry for each instance type, in the order in which they were asked for.
  returned: always
  type: list
  elements: dict
  contains:
    instance_type:
      description: The instance type.
      type: str
    zones:
      description: Zones that have it.
      type: list
      elements: str
    vcpus:
      description: vCPUs, 0 where the type is not known.
      type: int
    memory_mib:
      description: Memory.
      type: int
    architectures:
      description: For instance x86_64.
      type: list
      elements: str
    accelerator:
      description: Name of its accelerators, empty for none.
      type: str
    manufacturer:
      description: NVIDIA, AWS and so on.
      type: str
    accelerators:
      description: How many.
      type: int
    accelerator_memory_mib:
      description: Memory of each of them.
      type: int
    local_storage_gb:
      description: Local disks in sum.
      type: int
    price_per_hour:
      description: Estimate in USD, null where there is none.
      type: float
"""

from dataclasses import asdict

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import connection_of, start
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.lookups import offerings
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError

ARGUMENTS = {
    "instance_types": {"type": "list", "elements": "str", "required": True},
    "prices": {"type": "dict", "default": {}},
}


def main() -> None:
    module = start(ARGUMENTS)
    try:
        prices = {name: float(value) for name, value in module.params["prices"].items()}
        found = offerings(connection_of(module), module.params["instance_types"], prices)
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    except ValueError as failure:
        module.fail_json(msg=f"prices has a value that is not a number ({failure}); give USD per hour.")
    module.exit_json(changed=False, offerings=[asdict(row) for row in found])


if __name__ == "__main__":
    main()
