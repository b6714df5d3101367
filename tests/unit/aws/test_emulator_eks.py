# SPDX-License-Identifier: Apache-2.0
"""EKS of the emulator, as boto3 sees it."""

from __future__ import annotations

import itertools

import pytest
from botocore.exceptions import ClientError

from tests.support.emulated_aws import make_role, make_subnets

NUMBERS = itertools.count()
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


@pytest.fixture(scope="module")
def ground(account):
    vpc, subnets = make_subnets(account)
    return {
        "subnets": subnets,
        "vpc": vpc,
        "cluster_role": make_role(account, "eks-cluster"),
        "node_role": make_role(account, "eks-nodes", "ec2.amazonaws.com"),
        "pod_role": make_role(account, "ground-pods", "pods.eks.amazonaws.com"),
    }


@pytest.fixture
def eks(aws):
    return aws.client("eks")


def make_cluster(eks, ground, **more):
    name = f"c{next(NUMBERS)}"
    eks.create_cluster(
        name=name,
        roleArn=ground["cluster_role"],
        resourcesVpcConfig={"subnetIds": ground["subnets"]},
        **{"accessConfig": {"authenticationMode": "API"}, "version": "1.34", **more},
    )
    return name


def make_nodegroup(eks, ground, cluster, name="system"):
    eks.create_nodegroup(
        clusterName=cluster, nodegroupName=name, subnets=ground["subnets"], nodeRole=ground["node_role"]
    )


def code_of(failure):
    return failure.value.response["Error"]["Code"]


def test_a_cluster_is_creating_before_it_is_active_and_has_no_endpoint_until_then(eks, ground):
    created = eks.create_cluster(
        name="young", roleArn=ground["cluster_role"], resourcesVpcConfig={"subnetIds": ground["subnets"]}
    )["cluster"]
    assert created["status"] == "CREATING" and "endpoint" not in created and "identity" not in created
    described = eks.describe_cluster(name="young")["cluster"]
    assert described["status"] == "ACTIVE" and described["endpoint"].startswith("https://")
    assert described["accessConfig"]["authenticationMode"] == "CONFIG_MAP", (
        "the API's default, which users must override"
    )
    assert described["upgradePolicy"]["supportType"] == "EXTENDED"


def test_a_cluster_with_node_groups_is_not_deleted(eks, ground):
    name = make_cluster(eks, ground)
    make_nodegroup(eks, ground, name)
    with pytest.raises(ClientError) as failure:
        eks.delete_cluster(name=name)
    assert code_of(failure) == "ResourceInUseException"
    eks.delete_nodegroup(clusterName=name, nodegroupName="system")
    eks.delete_cluster(name=name)
    with pytest.raises(eks.exceptions.ResourceNotFoundException):
        eks.describe_cluster(name=name)


def test_a_deleted_cluster_leaves_no_interface_and_no_security_group(aws, eks, ground):
    name = make_cluster(eks, ground)
    group = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]["clusterSecurityGroupId"]
    ec2 = aws.client("ec2")
    held = {"Filters": [{"Name": "group-id", "Values": [group]}]}
    assert len(ec2.describe_network_interfaces(**held)["NetworkInterfaces"]) == 2
    eks.delete_cluster(name=name)
    assert ec2.describe_network_interfaces(**held)["NetworkInterfaces"] == []
    with pytest.raises(ClientError):
        ec2.describe_security_groups(GroupIds=[group])


def test_one_kind_of_change_per_call(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError) as failure:
        eks.update_cluster_config(name=name, upgradePolicy={"supportType": "STANDARD"}, deletionProtection=True)
    assert code_of(failure) == "InvalidParameterException"


def test_a_change_that_changes_nothing_is_refused(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError) as failure:
        eks.update_cluster_config(name=name, upgradePolicy={"supportType": "EXTENDED"})
    assert code_of(failure) == "InvalidParameterException"


def test_an_update_is_followed_by_its_id(eks, ground):
    name = make_cluster(eks, ground)
    logging = {"clusterLogging": [{"types": ["api"], "enabled": True}]}
    update = eks.update_cluster_config(name=name, logging=logging)["update"]
    assert update["status"] == "InProgress"
    assert eks.describe_update(name=name, updateId=update["id"])["update"]["status"] == "Successful"
    parts = eks.describe_cluster(name=name)["cluster"]["logging"]["clusterLogging"]
    assert {"types": ["api"], "enabled": True} in parts


def test_versions_go_up_one_by_one(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError) as failure:
        eks.update_cluster_version(name=name, version="1.36")
    assert code_of(failure) == "InvalidParameterException"
    eks.update_cluster_version(name=name, version="1.35")
    assert eks.describe_cluster(name=name)["cluster"]["version"] == "1.35"


def test_the_authentication_mode_goes_one_way(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError):
        eks.update_cluster_config(name=name, accessConfig={"authenticationMode": "CONFIG_MAP"})


def test_a_protected_cluster_is_not_deleted(eks, ground):
    name = make_cluster(eks, ground, deletionProtection=True)
    with pytest.raises(ClientError) as failure:
        eks.delete_cluster(name=name)
    assert code_of(failure) == "InvalidRequestException"


def test_coredns_is_degraded_until_a_node_group_is_active(eks, ground):
    name = make_cluster(eks, ground)
    eks.create_addon(clusterName=name, addonName="coredns")
    addon = eks.describe_addon(clusterName=name, addonName="coredns")["addon"]
    assert addon["status"] == "DEGRADED"
    assert addon["health"]["issues"][0]["code"] == "InsufficientNumberOfReplicas"
    make_nodegroup(eks, ground, name)
    assert eks.describe_addon(clusterName=name, addonName="coredns")["addon"]["status"] == "ACTIVE"


def test_addon_configuration_is_held_against_its_schema(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError) as failure:
        eks.create_addon(clusterName=name, addonName="coredns", configurationValues='{"replicaCounts": 2}')
    assert code_of(failure) == "InvalidParameterException"
    eks.create_addon(clusterName=name, addonName="coredns", configurationValues='{"replicaCount": 2}')


def test_an_addon_owns_its_associations(eks, ground):
    name = make_cluster(eks, ground)
    account = {"serviceAccount": "efs-csi-controller-sa", "roleArn": ground["pod_role"]}
    eks.create_addon(clusterName=name, addonName="aws-efs-csi-driver", podIdentityAssociations=[account])
    with pytest.raises(ClientError) as failure:
        eks.create_pod_identity_association(clusterName=name, namespace="kube-system", **account)
    assert code_of(failure) == "ResourceInUseException"
    eks.delete_addon(clusterName=name, addonName="aws-efs-csi-driver")
    assert eks.list_pod_identity_associations(clusterName=name)["associations"] == []


def test_taints_and_labels_are_added_and_removed(eks, ground):
    name = make_cluster(eks, ground)
    make_nodegroup(eks, ground, name)
    taint = {"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}
    where = {"clusterName": name, "nodegroupName": "system"}
    eks.update_nodegroup_config(
        **where, labels={"addOrUpdateLabels": {"a": "1"}}, taints={"addOrUpdateTaints": [taint]}
    )
    group = eks.describe_nodegroup(**where)["nodegroup"]
    assert (group["labels"], group["taints"]) == ({"a": "1"}, [taint])
    eks.update_nodegroup_config(**where, labels={"removeLabels": ["a"]}, taints={"removeTaints": [taint]})
    group = eks.describe_nodegroup(**where)["nodegroup"]
    assert not {"labels", "taints"} & set(group), "AWS leaves out what is empty"


def test_access_entries_refuse_system_groups_and_strangers(eks, ground):
    name = make_cluster(eks, ground)
    with pytest.raises(ClientError):
        eks.create_access_entry(clusterName=name, principalArn=ground["node_role"], kubernetesGroups=["system:masters"])
    with pytest.raises(ClientError):
        eks.create_access_entry(clusterName=name, principalArn="arn:aws:iam::123456789012:role/nobody")
    eks.create_access_entry(clusterName=name, principalArn=ground["node_role"])
    eks.associate_access_policy(
        clusterName=name, principalArn=ground["node_role"], policyArn=ADMIN_POLICY, accessScope={"type": "cluster"}
    )
    listed = eks.list_associated_access_policies(clusterName=name, principalArn=ground["node_role"])
    assert [policy["policyArn"] for policy in listed["associatedAccessPolicies"]] == [ADMIN_POLICY]


def test_versions_know_their_support(eks):
    versions = {row["clusterVersion"]: row for row in eks.describe_cluster_versions()["clusterVersions"]}
    assert [name for name, row in versions.items() if row["defaultVersion"]] == ["1.35"]
    assert versions["1.35"]["endOfStandardSupportDate"] < versions["1.35"]["endOfExtendedSupportDate"]


def test_listings_come_in_pages(aws, eks, ground):
    names = {make_cluster(eks, ground) for __ in range(3)}
    aws.admin("PUT", "page-size", {"items": 2})
    pages = list(eks.get_paginator("list_clusters").paginate())
    assert len(pages) > 1 and all(len(page["clusters"]) <= 2 for page in pages)
    assert names <= {name for page in pages for name in page["clusters"]}


def test_a_parameter_that_the_service_does_not_have_is_refused(aws):
    import botocore.session
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    request = AWSRequest("POST", f"{aws.url}/clusters", data=b'{"name": "x", "colour": "red"}')
    session = botocore.session.get_session()
    session.set_credentials("local", "local")
    SigV4Auth(session.get_credentials(), "eks", "us-west-2").add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    assert answer.status_code == 400 and b"colour" in answer.content and b"roleArn" in answer.content
