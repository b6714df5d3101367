# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: service_quota_info
short_description: Read service quotas of an AWS account
description:
  - Reads the account's value of each quota, or AWS's default where none was ever set.
options:
  service_code:
    description: The service.
    type: str
    default: ec2
  quota_codes:
    description: The quotas. Default for V(ec2) is all vCPU quotas of standard, G, P, Inf and Trn instances.
    type: list
    elements: str
    default: []
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
- name: May accelerators be started at all?
  llm.on_eks.service_quota_info:
    quota_codes: [L-DB2E81BA, L-1945791B]
  register: quotas
"""

RETURN = r"""
quotas:
  description: The quotas.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: Its code.
      type: str
    name:
      description: Its name.
      type: str
    value:
      description: Its value; vCPUs for those of EC2 instances.
      type: float
    adjustable:
      description: Whether AWS raises it on request.
      type: bool
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import connection_of, start
from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.quotas import QUOTAS
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.lookups import quota
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError

ARGUMENTS = {
    "service_code": {"type": "str", "default": "ec2"},
    "quota_codes": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = start(ARGUMENTS)
    service = module.params["service_code"]
    codes = module.params["quota_codes"] or (list(QUOTAS.values()) if service == "ec2" else [])
    if not codes:
        module.fail_json(msg=f"quota_codes is empty; name the quotas of {service} that are to be read.")
    try:
        connection = connection_of(module)
        found = [quota(connection, service, code) for code in codes]
    except LlmOnEksError as failure:
        module.fail_json(msg=f"{failure}.")
    module.exit_json(changed=False, quotas=found)


if __name__ == "__main__":
    main()
