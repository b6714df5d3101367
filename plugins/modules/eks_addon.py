# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_addon
short_description: Install, change or remove an add-on of Amazon EKS
description:
  - Resolves the version for the cluster's Kubernetes version, and compares the configuration as data.
  - Waits through C(InsufficientNumberOfReplicas), which every add-on with pods reports while there are no nodes; any other trouble ends the wait.
options:
  cluster:
    description: The cluster's name.
    type: str
    required: true
  name:
    description: The add-on's name, for instance V(vpc-cni).
    type: str
    required: true
  version:
    description: V(default) is AWS's choice for the Kubernetes version, V(latest) the newest, or a version by name.
    type: str
    default: default
  kubernetes_version:
    description: Resolve the version for this one instead of the cluster's own.
    type: str
  configuration:
    description: The add-on's configuration, as its schema has it. Left out, it stays as it is.
    type: dict
  pod_identity:
    description: IAM roles of its service accounts; an empty list removes them. Left out, they stay as they are.
    type: list
    elements: dict
    suboptions:
      service_account:
        description: The service account.
        type: str
        required: true
      role_arn:
        description: Its IAM role.
        type: str
        required: true
  service_account_role_arn:
    description: IAM role by IRSA, instead of O(pod_identity).
    type: str
  namespace:
    description: Namespace, where the add-on lets one choose; cannot be changed.
    type: str
  conflicts:
    description: What happens to fields that others changed.
    type: str
    choices: [NONE, OVERWRITE, PRESERVE]
    default: OVERWRITE
  preserve:
    description: Whether removal leaves the software in the cluster.
    type: bool
    default: false
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Networking before there are nodes
  llm.on_eks.eks_addon:
    cluster: demo
    name: vpc-cni
    pod_identity:
      - service_account: aws-node
        role_arn: arn:aws:iam::123456789012:role/demo-cni

- name: CoreDNS, without waiting for nodes
  llm.on_eks.eks_addon:
    cluster: demo
    name: coredns
    configuration: {replicaCount: 2}
    wait: false
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
version:
  description: The version that is installed.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.addon import EksAddon


def main() -> None:
    run(EksAddon)


if __name__ == "__main__":
    main()
