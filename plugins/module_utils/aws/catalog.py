# SPDX-License-Identifier: Apache-2.0
"""All kinds of AWS resources, by the name that a component descriptor's `aws:` and the documentation use."""

from __future__ import annotations

from .ec2_endpoint import Ec2Endpoint
from .ec2_gateway import Ec2InternetGateway, Ec2NatGateway
from .ec2_route_table import Ec2RouteTable
from .ec2_security_group import Ec2SecurityGroup
from .ec2_vpc import Ec2Subnet, Ec2Vpc
from .ecr_repository import EcrRepository
from .efs_access_point import EfsAccessPoint
from .efs_file_system import EfsFileSystem
from .efs_mount_target import EfsMountTarget
from .eks_access_entry import EksAccessEntry
from .eks_addon import EksAddon
from .eks_cluster import EksCluster
from .eks_nodegroup import EksNodegroup
from .eks_pod_identity import EksPodIdentityAssociation
from .events_rule import EventsRule
from .iam_other import IamInstanceProfile, IamOidcProvider, IamServiceLinkedRole
from .iam_policy import IamPolicy
from .iam_role import IamRole
from .kms_key import KmsKey
from .log_group import LogGroup
from .resource import AwsResource
from .s3_bucket import S3Bucket
from .sqs_queue import SqsQueue

RESOURCES: dict[str, type[AwsResource]] = {
    "ec2_endpoint": Ec2Endpoint,
    "ec2_internet_gateway": Ec2InternetGateway,
    "ec2_nat_gateway": Ec2NatGateway,
    "ec2_route_table": Ec2RouteTable,
    "ec2_security_group": Ec2SecurityGroup,
    "ec2_subnet": Ec2Subnet,
    "ec2_vpc": Ec2Vpc,
    "ecr_repository": EcrRepository,
    "efs_access_point": EfsAccessPoint,
    "efs_file_system": EfsFileSystem,
    "efs_mount_target": EfsMountTarget,
    "eks_access_entry": EksAccessEntry,
    "eks_addon": EksAddon,
    "eks_cluster": EksCluster,
    "eks_nodegroup": EksNodegroup,
    "eks_pod_identity_association": EksPodIdentityAssociation,
    "events_rule": EventsRule,
    "iam_instance_profile": IamInstanceProfile,
    "iam_oidc_provider": IamOidcProvider,
    "iam_policy": IamPolicy,
    "iam_role": IamRole,
    "iam_service_linked_role": IamServiceLinkedRole,
    "kms_key": KmsKey,
    "log_group": LogGroup,
    "s3_bucket": S3Bucket,
    "sqs_queue": SqsQueue,
}
