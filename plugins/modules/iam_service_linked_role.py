# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_linked_role
short_description: Have a service-linked role of IAM, or remove it
description:
  - Once in an account; made by whoever asks first. It carries no marks, and with O(owner) it is never removed.
options:
  service_name:
    description: The service, for instance V(spot.amazonaws.com).
    type: str
    required: true
  description:
    description: A description.
    type: str
  custom_suffix:
    description: Suffix of the name, for services that allow several.
    type: str
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Before the first spot instance of an account
  llm.on_eks.iam_service_linked_role:
    service_name: spot.amazonaws.com
"""

RETURN = r"""
name:
  description: Its name.
  returned: O(state=present)
  type: str
arn:
  description: Its ARN.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.iam.service_linked_role import IamServiceLinkedRole


def main() -> None:
    run(IamServiceLinkedRole)


if __name__ == "__main__":
    main()
