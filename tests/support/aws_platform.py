# SPDX-License-Identifier: Apache-2.0
"""A small platform on AWS as descriptors: network, cluster, nodes, storage, and something in Kubernetes that refers to them."""

from __future__ import annotations

from tests.support.emulated_aws import REGION

ZONES = ("a", "b")


def _entry(kind, label, /, **properties):
    more = {key: properties.pop(key) for key in ("after", "retain", "adopt", "wait") if key in properties}
    return {"type": kind, "name": label, "properties": properties, **more}


def network(cluster, *, zones=ZONES, cidr="10.20"):
    vpc = "${out:network.vpc_id}"
    subnets = [
        _entry(
            "ec2_subnet",
            f"private_{zone}",
            name=f"{cluster}-private-{zone}",
            vpc_id=vpc,
            cidr=f"{cidr}.{index}.0/24",
            zone=f"{REGION}{zone}",
        )
        for index, zone in enumerate(zones)
    ]
    return {
        "name": "network",
        "aws": [_entry("ec2_vpc", "vpc", name=cluster, cidr=f"{cidr}.0.0/16"), *subnets],
    }


def subnets(zones=ZONES):
    return [f"${{out:network.private_{zone}_id}}" for zone in zones]


def cluster(name, caller, *, zones=ZONES, version="1.35", **more):
    policies = [{"policy": "AmazonEKSClusterAdminPolicy"}]
    return {
        "name": "cluster",
        "aws": [
            _entry("iam_role", "role", name=f"{name}-cluster", services=["eks.amazonaws.com"]),
            _entry(
                "eks_cluster",
                "cluster",
                name=name,
                version=version,
                role_arn="${out:cluster.role_arn}",
                subnet_ids=subnets(zones),
                **more,
            ),
            _entry(
                "eks_access_entry",
                "deployer",
                cluster="${out:cluster.cluster_name}",
                principal_arn=caller,
                policies=policies,
            ),
        ],
        "kubernetes": {
            "name": "${out:cluster.cluster_name}",
            "endpoint": "${out:cluster.cluster_endpoint}",
            "certificate_authority": "${out:cluster.cluster_certificate_authority}",
        },
    }


def nodes(groups=("system",), *, zones=ZONES, **more):
    return {
        "name": "node_groups",
        "aws": [
            _entry("iam_role", "role", name="nodes", services=["ec2.amazonaws.com"]),
            *(
                _entry(
                    "eks_nodegroup",
                    group.replace("-", "_"),
                    cluster="${out:cluster.cluster_name}",
                    name=group,
                    role_arn="${out:node_groups.role_arn}",
                    subnet_ids=subnets(zones),
                    **{"instance_types": ["m7i.large"], **more},
                )
                for group in groups
            ),
        ],
    }


def storage(*, zones=ZONES, retain=False):
    return {
        "name": "storage",
        "namespace": {"name": "storage"},
        "aws": [
            _entry("efs_file_system", "files", name="models", retain=retain),
            *(
                _entry(
                    "efs_mount_target",
                    f"target_{zone}",
                    file_system_id="${out:storage.files_id}",
                    subnet_id=f"${{out:network.private_{zone}_id}}",
                )
                for zone in zones
            ),
        ],
        "manifests": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "files"},
                "data": {"id": "${out:storage.files_id}", "cluster": "${out:cluster.cluster_arn}"},
            }
        ],
    }


def platform(name, caller, *, zones=ZONES, groups=("system",)):
    """`zones`: of the network and of storage; the cluster and its nodes stay in the usual ones."""
    return [network(name, zones=zones), cluster(name, caller), nodes(groups), storage(zones=zones)]
