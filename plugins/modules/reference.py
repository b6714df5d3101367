# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: reference
short_description: Ask the AWS account for what ages, and write it into the environment
description:
  - Asks for the support of Kubernetes versions, the default versions of the add-ons that the components use, and the prices of their
    instance types, and writes them to O(file) as the variable C(platform_reference).
  - Later runs take add-ons in these versions and prices from it. Preflight warns when it is older than 90 days.
options:
  components:
    description: Component descriptors.
    type: list
    elements: dict
    required: true
  models:
    description: The model catalogue, for its instance types.
    type: list
    elements: dict
    default: []
  region:
    description: AWS region.
    type: str
    required: true
  profile:
    description: Profile of the AWS credentials.
    type: str
    default: ""
  credentials_file:
    description: File with the AWS credentials; when omitted, botocore's usual places.
    type: str
    default: ""
  endpoint_url:
    description: Address of an emulated AWS.
    type: str
    default: ""
  file:
    description: The file to write.
    type: path
    required: true
author:
  - llm.on_eks maintainers (@llm-on-eks)
attributes:
  check_mode:
    description: Asks, and writes nothing.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Reference
  llm.on_eks.reference:
    components: "{{ platform_components }}"
    models: "{{ model_catalog }}"
    region: "{{ platform_aws_region }}"
    file: "{{ platform_reference_file }}"
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: str
unseen:
  description: One sentence for each part that could not be asked.
  returned: success
  type: list
  elements: str
"""
