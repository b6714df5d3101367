# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_access_entry
short_description: Let an IAM principal use the API of an Amazon EKS cluster, or no longer
description:
  - Manages an access entry with its access policies. The ARN of an assumed role's session stands for its role.
options:
  cluster:
    description: The cluster's name.
    type: str
    required: true
  principal_arn:
    description: The IAM role or user; V(caller) is who runs this.
    type: str
    required: true
  type:
    description: What it is; V(EC2_LINUX) is for nodes that are not in a managed group. Cannot be changed.
    type: str
    choices: [STANDARD, EC2_LINUX, EC2_WINDOWS, FARGATE_LINUX, EC2, HYBRID_LINUX, HYPERPOD_LINUX]
    default: STANDARD
  groups:
    description: Kubernetes groups. Left out, they stay as they are.
    type: list
    elements: str
  username:
    description: Kubernetes user name. Default is EKS's.
    type: str
  policies:
    description: Access policies, all of them. Left out, they stay as they are.
    type: list
    elements: dict
    suboptions:
      policy:
        description: Name (V(AmazonEKSViewPolicy)) or ARN.
        type: str
        required: true
      namespaces:
        description: Where it holds; empty is the whole cluster.
        type: list
        elements: str
        default: []
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Administrators
  llm.on_eks.eks_access_entry:
    cluster: demo
    principal_arn: arn:aws:iam::123456789012:role/platform-admin
    policies:
      - policy: AmazonEKSClusterAdminPolicy
"""

RETURN = r"""
principal_arn:
  description: The role or user.
  returned: O(state=present)
  type: str
arn:
  description: The entry's ARN.
  returned: O(state=present)
  type: str
username:
  description: Its user name in Kubernetes.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.access_entry import EksAccessEntry


def main() -> None:
    run(EksAccessEntry)


if __name__ == "__main__":
    main()
