# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  cluster:
    description: Name of the cluster, in EKS and in the tags of our resources.
    type: str
    default: ""
  aws:
    description: The AWS account that the graph begins in; without a region it begins at a kubeconfig.
    type: dict
    default: {}
    suboptions:
      region:
        description: Region, for example V(eu-central-1).
        type: str
        default: ""
      profile:
        description: Profile of the AWS configuration; empty for botocore's usual chain.
        type: str
        default: ""
      credentials_file:
        description: The only file that credentials are taken from; empty for the usual places.
        type: path
        default: ""
      endpoint_url:
        description: Address of an AWS-compatible API; empty for AWS.
        type: str
        default: ""
      lock_bucket:
        description: Bucket with the lock of a run while there is no cluster yet, so that only one runs at a time; empty for no such lock.
        type: str
        default: ""
"""
