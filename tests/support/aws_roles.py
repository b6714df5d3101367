# SPDX-License-Identifier: Apache-2.0
"""The real AWS roles as descriptors, in a shape that has one of nearly everything."""

from __future__ import annotations

from typing import Any

from tests.support.described import Component, describe
from tests.support.emulated_aws import REGION

ROLES = ("network", "cluster", "node_groups", "identity", "storage_efs", "storage_ebs", "karpenter_aws")
PLATFORM: dict[str, Any] = {
    "platform_provider": "eks",
    "platform_aws_region": REGION,
    "model_catalog": [],
    "network_zones": ["a", "b"],
    "network_endpoints": ["s3", "sts"],
    "cluster_encryption_key": "own",
    "karpenter_aws_state": "present",
    "karpenter_aws_instance_profile": True,
    "identity_roles": [
        {
            "name": "engines",
            "namespace": "llm-engines",
            "service_account": "engine",
            "statements": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::weights/*"}],
        }
    ],
    "storage_efs_retain": False,
    # A cluster of this machine has classes of the usual names.
    "storage_efs_class": "files",
    "storage_ebs_class": "disks",
}


def described(cluster: str, **shapes: dict[str, Any]) -> dict[str, list[Component]]:
    """shape -> the components of the AWS roles, PLATFORM with these variables more."""
    hosts = {name: {**PLATFORM, "platform_cluster_name": cluster, **more} for name, more in shapes.items()}
    found = describe(hosts)
    return {
        name: [component for component in components if component["name"] in ROLES]
        for name, components in found.items()
    }
