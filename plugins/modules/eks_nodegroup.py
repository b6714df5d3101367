# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_nodegroup
short_description: Make, change or remove a managed node group of Amazon EKS
description:
  - Labels, taints, sizes, versions and update settings are changed in place.
  - What AWS cannot change (instance types, disk, subnets, role, AMI and capacity type) means a new group of the same name.
options:
  cluster:
    description: The cluster's name.
    type: str
    required: true
  name:
    description: The node group's name.
    type: str
    required: true
  role_arn:
    description: The nodes' IAM role. Required to make one.
    type: str
  subnet_ids:
    description: Subnets of the nodes. Required to make one.
    type: list
    elements: str
  instance_types:
    description: Instance types. Default is AWS's for a new group.
    type: list
    elements: str
  ami_type:
    description: AMI type, for instance V(AL2023_x86_64_NVIDIA). Ignored with O(launch_template).
    type: str
    default: AL2023_x86_64_STANDARD
  capacity_type:
    description: How the capacity is bought.
    type: str
    choices: [ON_DEMAND, SPOT, CAPACITY_BLOCK]
    default: ON_DEMAND
  disk_size:
    description: Root volume in GiB. AWS's default, 20, is too small for inference images.
    type: int
  min_size:
    description: Fewest nodes.
    type: int
    default: 1
  max_size:
    description: Most nodes.
    type: int
    default: 3
  desired_size:
    description: Nodes now. Leave it out where an autoscaler owns the number.
    type: int
  labels:
    description: Node labels, all of them; others are removed. Left out, they stay as they are.
    type: dict
  taints:
    description: Node taints, all of them.
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: The taint's key.
        type: str
        required: true
      value:
        description: Its value.
        type: str
      effect:
        description: Its effect, as EKS spells it.
        type: str
        required: true
        choices: [NO_SCHEDULE, NO_EXECUTE, PREFER_NO_SCHEDULE]
  version:
    description: Kubernetes version of the nodes. Default is the cluster's for a new group.
    type: str
  release_version:
    description: Version of the AMI.
    type: str
  launch_template:
    description: A launch template.
    type: dict
    suboptions:
      id:
        description: Its id.
        type: str
      name:
        description: Its name, instead of the id.
        type: str
      version:
        description: Its version.
        type: str
  max_unavailable:
    description: Nodes that may be away during an update.
    type: int
  max_unavailable_percentage:
    description: The same as a share.
    type: int
  update_strategy:
    description: V(MINIMAL) ends nodes before new ones start, for scarce accelerators.
    type: str
    choices: [DEFAULT, MINIMAL]
  node_repair:
    description: Whether EKS replaces unhealthy nodes.
    type: bool
  force_update:
    description: Whether a version update goes on where a disruption budget forbids to drain.
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
- name: Nodes for critical add-ons
  llm.on_eks.eks_nodegroup:
    cluster: demo
    name: system
    role_arn: arn:aws:iam::123456789012:role/demo-nodes
    subnet_ids: [subnet-0a, subnet-0b]
    instance_types: [m7i.large]
    min_size: 2
    disk_size: 50

- name: Away with them, as must be before the cluster goes
  llm.on_eks.eks_nodegroup:
    cluster: demo
    name: system
    state: absent
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
auto_scaling_group:
  description: The Auto Scaling group behind it.
  returned: O(state=present)
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.nodegroup import EksNodegroup


def main() -> None:
    run(EksNodegroup)


if __name__ == "__main__":
    main()
