# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_pod_identity_association
short_description: Give a Kubernetes service account an IAM role by EKS Pod Identity, or take it away
description:
  - There is at most one association for each service account. One that an add-on owns is left to that add-on.
options:
  cluster:
    description: The cluster's name.
    type: str
    required: true
  namespace:
    description: The service account's namespace.
    type: str
    required: true
  service_account:
    description: The service account.
    type: str
    required: true
  role_arn:
    description: The IAM role. Required to make one.
    type: str
  target_role_arn:
    description: A role that the first one assumes, in another account for instance.
    type: str
  disable_session_tags:
    description: Whether sessions lack the cluster's and pod's tags.
    type: bool
notes:
  - "Credentials reach a pod when it is made: associate first, then start the workload."
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Karpenter's role
  llm.on_eks.eks_pod_identity_association:
    cluster: demo
    namespace: kube-system
    service_account: karpenter
    role_arn: arn:aws:iam::123456789012:role/demo-karpenter
"""

RETURN = r"""
id:
  description: Its id.
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
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.pod_identity_association import (
    EksPodIdentityAssociation,
)


def main() -> None:
    run(EksPodIdentityAssociation)


if __name__ == "__main__":
    main()
