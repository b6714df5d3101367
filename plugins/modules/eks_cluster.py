# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: eks_cluster
short_description: Make, change or remove an Amazon EKS cluster
description:
  - Makes a cluster with access entries, a private endpoint and standard support, where the API's own defaults are open or costly.
  - Changes version (one minor after the other), networking, endpoints, logging, access mode, support, protection and encryption, each followed to its end.
options:
  name:
    description: The cluster's name.
    type: str
    required: true
  role_arn:
    description: The cluster's IAM role. Required to make one.
    type: str
  version:
    description: Kubernetes version, for instance V(1.35). Default is EKS's for a new cluster, and what it is for an existing one.
    type: str
  subnet_ids:
    description: Subnets in at least two zones. Required to make one.
    type: list
    elements: str
  security_group_ids:
    description: Further security groups of the control plane's interfaces.
    type: list
    elements: str
  endpoint_private_access:
    description: Whether nodes reach the API inside the VPC.
    type: bool
    default: true
  endpoint_public_access:
    description: Whether the API is reached from outside.
    type: bool
    default: true
  public_access_cidrs:
    description: Who reaches it from outside. Default is AWS's, V(0.0.0.0/0).
    type: list
    elements: str
  service_ipv4_cidr:
    description: Range of Service addresses; cannot be changed.
    type: str
  ip_family:
    description: Address family; cannot be changed.
    type: str
    choices: [ipv4, ipv6]
  logging:
    description: Log types that go to CloudWatch, of C(api), C(audit), C(authenticator), C(controllerManager), C(scheduler).
    type: list
    elements: str
    default: [api, audit, authenticator]
  encryption_key_arn:
    description: KMS key for Secrets; can be added, never removed.
    type: str
  authentication_mode:
    description: How callers are admitted. Goes only from V(CONFIG_MAP) towards V(API).
    type: str
    choices: [CONFIG_MAP, API_AND_CONFIG_MAP, API]
    default: API
  bootstrap_creator_admin:
    description: Whether the creator becomes an administrator; said at creation only.
    type: bool
    default: false
  bootstrap_self_managed_addons:
    description: Whether EKS installs its unmanaged add-ons; said at creation only.
    type: bool
    default: false
  support_type:
    description: V(EXTENDED) costs more; with V(STANDARD) AWS upgrades the control plane at the end of standard support.
    type: str
    choices: [STANDARD, EXTENDED]
    default: STANDARD
  zonal_shift:
    description: Whether traffic may be shifted away from a zone.
    type: bool
  deletion_protection:
    description: Whether deletion is refused. O(state=absent) takes it off first.
    type: bool
    default: false
  scaling_tier:
    description: Size of the control plane.
    type: str
    choices: [standard, tier-xl, tier-2xl, tier-4xl, tier-8xl]
author:
  - llm.on_eks maintainers (@llm-on-eks)
extends_documentation_fragment:
  - llm.on_eks.aws_resource
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: A cluster
  llm.on_eks.eks_cluster:
    name: demo
    version: "1.35"
    role_arn: arn:aws:iam::123456789012:role/demo-cluster
    subnet_ids: [subnet-0a, subnet-0b]
    public_access_cidrs: [203.0.113.0/24]

- name: Away with it
  llm.on_eks.eks_cluster:
    name: demo
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
endpoint:
  description: The API's address.
  returned: O(state=present)
  type: str
certificate_authority:
  description: The API's authority, base64.
  returned: O(state=present)
  type: str
issuer:
  description: OIDC issuer.
  returned: O(state=present)
  type: str
version:
  description: Kubernetes version.
  returned: O(state=present)
  type: str
vpc_id:
  description: Its VPC.
  returned: O(state=present)
  type: str
security_group_id:
  description: The security group that EKS made.
  returned: O(state=present)
  type: str
service_cidr:
  description: The range of Services' addresses (IPv4).
  returned: O(state=present), in a cluster of family IPv4
  type: str
changes:
  description: Each field that was or would be changed, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import run
from ansible_collections.llm.on_eks.plugins.module_utils.aws.eks.cluster import EksCluster


def main() -> None:
    run(EksCluster)


if __name__ == "__main__":
    main()
