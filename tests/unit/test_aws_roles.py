# SPDX-License-Identifier: Apache-2.0
"""What the AWS roles describe is what AWS's resources take, in every shape that their variables offer."""

from __future__ import annotations

import graphlib
import ipaddress
import json
import re

import pytest

from ansible_collections.llm.on_eks.plugins.filter.aws_partition import aws_partition
from ansible_collections.llm.on_eks.plugins.filter.pod_trust import pod_trust
from ansible_collections.llm.on_eks.plugins.filter.subnet_cidrs import subnet_cidrs
from ansible_collections.llm.on_eks.plugins.module_utils.aws.iam.policy import MAX_CHARACTERS
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from tests.support.described import aws_entries, dangling, describe, edges, refusals, resources

EKS = {"platform_provider": "eks", "platform_aws_region": "us-west-2", "model_catalog": []}
EVERYTHING = {
    **EKS,
    "karpenter_aws_state": "present",
    "karpenter_aws_instance_profile": True,
    "platform_role_boundary": "arn:aws:iam::aws:policy/PowerUserAccess",
    "karpenter_aws_kms_keys": ["arn:aws:kms:us-west-2:123456789012:key/1"],
    "storage_s3_state": "present",
    "storage_s3_buckets": [
        {"name": "weights", "bucket": "my-models", "prefix": "llama/"},
        {"name": "out", "bucket": "results", "write": True},
    ],
    "network_zones": ["a", "us-west-2b", "c", "d"],
    "network_nat": "per_zone",
    "network_endpoints": ["s3", "ecr.api", "sts"],
    "network_tags": {"team": "ml"},
    "cluster_encryption_key": "own",
    "cluster_public_access_cidrs": ["192.0.2.0/24"],
    "cluster_admins": ["arn:aws:iam::123456789012:role/admins"],
    "cluster_access": [
        {
            "name": "viewers",
            "principal_arn": "arn:aws:iam::123456789012:role/v",
            "policy": "AmazonEKSViewPolicy",
            "namespaces": ["llm-gateway"],
        },
        {"name": "ops", "principal_arn": "arn:aws:iam::123456789012:role/o", "groups": ["ops"]},
    ],
    "node_groups_extra": [
        {
            "name": "gpu-1",
            "instance_types": ["g6.xlarge"],
            "ami_type": "AL2023_x86_64_NVIDIA",
            "min_size": 0,
            "max_size": 2,
            "labels": {"nvidia.com/gpu.present": "true"},
            "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
        }
    ],
    "node_groups_addons_extra": [
        {"name": "snapshot-controller", "version": "latest", "configuration": {"replicaCount": 2}}
    ],
    "identity_roles": [
        {
            "name": "engines",
            "namespace": "llm-engines",
            "service_account": "engine",
            "statements": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::my-models/*"}],
        }
    ],
    "identity_load_balancer_controller": True,
    "storage_efs_throughput_mode": "provisioned",
    "storage_efs_throughput_mibps": 256,
    "storage_efs_transition_to_ia": "AFTER_30_DAYS",
}
LONG = "everything-with-a-long-name-as-it-may-be"
HOSTS = {
    "plain": EKS,
    # As long as AWS takes names of roles with our longest ending.
    LONG: EVERYTHING,
    "seed": {**EVERYTHING, "identity_variant": "seed"},
    "china": {**EVERYTHING, "platform_aws_region": "cn-north-1", "network_zones": ["a", "b"]},
    "given": {
        **EKS,
        "network_vpc_id": "vpc-1",
        "network_private_subnet_ids": ["subnet-1", "subnet-2"],
        "network_public_subnet_ids": ["subnet-3"],
        "cluster_adopt": True,
        "node_groups_addons": [{"name": "coredns"}],
        "storage_efs_addon_version": "none",
        "storage_ebs_addon_version": "none",
    },
    "isolated": {**EKS, "network_nat": "none", "network_endpoints": ["s3", "eks", "eks-auth"]},
    "local": {**EVERYTHING, "platform_local": True},
    "existing": {"platform_provider": "existing", "model_catalog": []},
}
AWS_HOSTS = [host for host in HOSTS if host != "existing"]
REGIONS = {host: given.get("platform_aws_region", "us-west-2") for host, given in HOSTS.items()}
# A repository's name, an access entry's principal and the like come from elsewhere.
NAMED = ("iam_role", "iam_policy", "iam_instance_profile", "eks_cluster", "sqs_queue", "events_rule", "kms_key")


@pytest.fixture(scope="module")
def described():
    return describe({host: {"platform_cluster_name": host, **given} for host, given in HOSTS.items()})


def component(components, name):
    (found,) = [one for one in components if one["name"] == name]
    return found


def entry(components, owner, name):
    (found,) = [one for one in component(components, owner)["aws"] if one["name"] == name]
    return found


def of_type(components, kind):
    return [one for __, one in aws_entries(components) if one["type"] == kind]


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_each_resource_is_taken_by_its_class(described, host):
    for (__, name), resource in resources(described[host], REGIONS[host]).items():
        if resource.noun != "EKS add-on" and not resource.adopt:  # an add-on's version is looked up
            assert resource.desired(None) is not None, name


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_each_reference_names_something(described, host):
    assert dangling(described[host]) == []


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_nothing_waits_for_itself(described, host):
    list(graphlib.TopologicalSorter(edges(described[host])).static_order())


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_names_are_unique_and_of_the_form_that_references_take(described, host):
    for one in described[host]:
        names = [row["name"] for row in one.get("aws", [])]
        assert len(names) == len(set(names)), one["name"]
        assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names), names


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_names_are_short_enough_and_different(described, host):
    for kind in NAMED:
        names = [one["properties"]["name"] for one in of_type(described[host], kind)]
        assert len(names) == len(set(names))
        assert all(len(name) <= 64 for name in names), names


@pytest.mark.parametrize("host", AWS_HOSTS)
def test_marks_are_left_to_the_classes(described, host):
    for __, one in aws_entries(described[host]):
        assert not [key for key in one["properties"].get("tags", {}) if key.startswith("llm.on_eks/")]


def test_without_eks_nothing_of_aws_is_described(described):
    assert list(aws_entries(described["existing"])) == []
    assert not {one["name"] for one in described["existing"]} & {"network", "cluster", "storage_efs"}


def test_the_kubernetes_api_is_named_once(described):
    named = {host: [one["name"] for one in components if "kubernetes" in one] for host, components in described.items()}
    assert {host for host, names in named.items() if names == ["cluster"]} == set(AWS_HOSTS)


@pytest.mark.programs
def test_what_aws_would_refuse_is_refused_before():
    wrong = {
        "name": ({"platform_cluster_name": "Prod_1"}, "use at most 40 small letters, digits and dashes"),
        "zones": ({"network_zones": ["a"]}, "EKS wants subnets in at least two zones"),
        "range": ({"network_cidr": "10.0.0.0/8"}, "give a range between /16 and /20"),
    }
    said = refusals({host: {**EKS, "platform_cluster_name": "x", **given} for host, (given, __) in wrong.items()})
    assert [host for host, (__, sentence) in wrong.items() if sentence not in said[host]] == [], said


def test_no_security_group_of_ours_has_the_clusters_tag(described):
    """Controllers of load balancers want exactly one on a node, and EKS's own has it: aws-load-balancer-controller 1897."""
    for host, components in described.items():
        for one in of_type(components, "ec2_security_group"):
            assert f"kubernetes.io/cluster/{host}" not in (one["properties"].get("tags") or {}), one["name"]


# -- network ------------------------------------------------------------------------------------------------------------
def test_subnets_lie_in_the_vpc_and_apart_from_each_other(described):
    for host in ("plain", "everything-with-a-long-name-as-it-may-be"):
        vpc = ipaddress.ip_network(entry(described[host], "network", "vpc")["properties"]["cidr"])
        ranges = [ipaddress.ip_network(one["properties"]["cidr"]) for one in of_type(described[host], "ec2_subnet")]
        assert all(one.subnet_of(vpc) for one in ranges)
        assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)


def test_another_zone_moves_no_subnet_of_the_others():
    few, many = subnet_cidrs("10.4.0.0/18", 2), subnet_cidrs("10.4.0.0/18", 7)
    assert all(many[kind][:2] == few[kind] for kind in ("private", "public"))


@pytest.mark.parametrize(
    ("cidr", "zones"), [("10.0.0.0/8", 3), ("10.0.0.0/24", 2), ("10.0.0.1/16", 2), ("x", 2), ("10.0.0.0/16", 8)]
)
def test_a_range_that_cannot_be_shared_out_is_refused_with_its_mend(cidr, zones):
    from ansible.errors import AnsibleFilterError

    with pytest.raises(AnsibleFilterError, match="give "):
        subnet_cidrs(cidr, zones)


def test_subnets_carry_the_tags_that_controllers_look_for(described):
    private, public = (
        entry(described["plain"], "network", f"{kind}_a")["properties"]["tags"] for kind in ("private", "public")
    )
    assert private == {"kubernetes.io/role/internal-elb": "1", "karpenter.sh/discovery": "plain"}
    assert public == {"kubernetes.io/role/elb": "1"}


def test_one_nat_gateway_or_one_for_each_zone_or_none(described):
    assert len(of_type(described["plain"], "ec2_nat_gateway")) == 1
    assert len(of_type(described["everything-with-a-long-name-as-it-may-be"], "ec2_nat_gateway")) == 4
    assert of_type(described["isolated"], "ec2_nat_gateway") == []
    for zone in "abc":
        route = entry(described["plain"], "network", f"private_{zone}_routes")["properties"]["routes"]
        assert route == [{"destination": "0.0.0.0/0", "nat_gateway_id": "${out:network.nat_a_id}"}]
        assert "routes" not in entry(described["isolated"], "network", f"private_{zone}_routes")["properties"]


def test_a_given_network_is_used_and_never_owned(described):
    network = component(described["given"], "network")["aws"]
    assert [one["name"] for one in network] == ["vpc", "private_1", "private_2", "public_1"]
    assert all(one["adopt"] for one in network)


def test_others_name_subnets_by_reference_in_both_cases(described):
    for host, names in (("plain", ["private_a", "private_b", "private_c"]), ("given", ["private_1", "private_2"])):
        group = entry(described[host], "node_groups", "group_system")["properties"]
        assert group["subnet_ids"] == [f"${{out:network.{name}_id}}" for name in names]
        assert len(of_type(described[host], "efs_mount_target")) == len(names)


# -- cluster and nodes --------------------------------------------------------------------------------------------------
def test_no_public_endpoint_unless_networks_are_named(described):
    closed = entry(described["plain"], "cluster", "cluster")["properties"]
    opened = entry(described["seed"], "cluster", "cluster")["properties"]
    assert (closed["endpoint_public_access"], closed["public_access_cidrs"]) == (False, [])
    assert (opened["endpoint_public_access"], opened["public_access_cidrs"]) == (True, ["192.0.2.0/24"])
    assert closed["endpoint_private_access"] and closed["authentication_mode"] == "API"


def test_the_control_plane_may_look_at_the_grants_of_its_own_key(described):
    """Else EKS is refused once an hour: https://github.com/terraform-aws-modules/terraform-aws-eks/issues/1913"""
    role = entry(described[LONG], "cluster", "role")["properties"]
    (statement,) = role["inline_policies"]["secrets"]["Statement"]
    assert "kms:ListGrants" in statement["Action"] and statement["Resource"] == "${out:cluster.key_arn}"
    assert "inline_policies" not in entry(described["plain"], "cluster", "role")["properties"]


def test_a_protected_platform_is_protected_by_aws_too(described):
    assert entry(described["plain"], "cluster", "cluster")["properties"]["deletion_protection"] is True


def test_whoever_runs_it_administers_the_cluster(described):
    deployer = entry(described["plain"], "cluster", "deployer")["properties"]
    assert deployer["principal_arn"] == "caller"
    assert [row["policy"] for row in deployer["policies"]] == ["AmazonEKSClusterAdminPolicy"]


def test_of_a_given_cluster_nothing_is_made(described):
    (cluster,) = component(described["given"], "cluster")["aws"]
    assert cluster["adopt"] is True and list(cluster["properties"]) == ["name"]


def test_logs_have_their_group_before_the_cluster_makes_one(described):
    assert ("cluster", "logs") in edges(described["plain"])["cluster", "cluster"]


def test_nodes_come_after_their_network_and_before_what_runs_on_them(described):
    order = edges(described["plain"])
    early = {("node_groups", name) for name in ("vpc_cni", "kube_proxy", "eks_pod_identity_agent")}
    assert early < order["node_groups", "group_system"]
    # Nodes that start without a way out never join; removal goes the other way, so that the CNI can give its interfaces back.
    ways_out = {key for key in order if key[0] == "network" and key[1].endswith("_routes")}
    assert ways_out and ways_out < order["node_groups", "group_system"]
    assert all(any(key[1].startswith("nat_") for key in order[way]) for way in ways_out)
    endpoints = {key for key in edges(described["isolated"]) if key[1].startswith("endpoint_")}
    assert endpoints < edges(described["isolated"])["node_groups", "group_system"]
    late = [
        ("node_groups", "coredns"),
        ("node_groups", "metrics_server"),
        ("storage_efs", "driver"),
        ("storage_ebs", "driver"),
    ]
    assert all(("node_groups", "group_system") in order[key] for key in late)


def test_files_and_roles_do_not_wait_for_the_cluster(described):
    order = edges(described["everything-with-a-long-name-as-it-may-be"])
    waiting = {("cluster", "cluster")}
    for key in graphlib.TopologicalSorter(order).static_order():
        if order[key] & waiting:
            waiting.add(key)
    free = {
        ("storage_efs", "files"),
        ("storage_efs", "models"),
        ("identity", "efs_csi_role"),
        ("karpenter_aws", "queue"),
    }
    assert not free & waiting


def test_the_system_group_has_room_for_two_replicas_in_two_zones(described):
    group = entry(described["plain"], "node_groups", "group_system")["properties"]
    disk = entry(described["plain"], "node_groups", "template_system")["properties"]["root_gib"]
    assert group["min_size"] >= 2 and len(group["subnet_ids"]) >= 2 and disk >= 50


def test_nodes_and_addons_have_the_clusters_version(described):
    version = entry(described["plain"], "cluster", "cluster")["properties"]["version"]
    assert {one["properties"]["version"] for one in of_type(described["plain"], "eks_nodegroup")} == {version}
    assert {one["properties"]["kubernetes_version"] for one in of_type(described["plain"], "eks_addon")} == {version}


# -- identity -----------------------------------------------------------------------------------------------------------
def test_a_service_account_has_one_association_at_most(described):
    components = described["everything-with-a-long-name-as-it-may-be"]
    bound = [
        (one["properties"]["namespace"], one["properties"]["service_account"])
        for one in of_type(components, "eks_pod_identity_association")
    ]
    bound += [
        ("kube-system", row["service_account"])
        for one in of_type(components, "eks_addon")
        for row in one["properties"].get("pod_identity", [])
    ]
    assert len(bound) == len(set(bound)) == 7


def test_irsa_needs_no_association_and_trusts_one_account_each(described):
    components = described["seed"]
    assert of_type(components, "eks_pod_identity_association") == []
    assert not [one for one in of_type(components, "eks_addon") if one["properties"].get("pod_identity")]
    assert of_type(components, "iam_oidc_provider")
    condition = entry(components, "karpenter_aws", "controller_role")["properties"]["trust_policy"]["Statement"][0][
        "Condition"
    ]
    assert condition["StringEquals"]["${out:identity.issuer_host}:sub"] == "system:serviceaccount:kube-system:karpenter"


def test_the_load_balancer_controller_removes_only_what_it_made(described):
    role = entry(described["seed"], "identity", "load_balancer_role")["properties"]
    statements = role["inline_policies"]["own"]["Statement"]
    deletes = ("ec2:DeleteSecurityGroup", "elasticloadbalancing:Delete")
    removing = [row for row in statements if any(action.startswith(deletes) for action in _actions(row))]
    own = {"Null": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}}
    # Listeners and rules end with their load balancer, and carry no condition in AWS's own policy either.
    assert [row["Sid"] for row in removing if row.get("Condition") != own] == ["Listen"]
    assert len(json.dumps(statements, separators=(",", ":"))) < 10240, "as much as IAM takes in a role"
    assert len({row["Sid"] for row in statements}) == len(statements)


def _actions(statement):
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


def test_pod_identity_trusts_the_service_with_session_tags():
    (statement,) = pod_trust("kube-system/karpenter", "pod_identity", "demo", "cn-north-1")["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statement["Condition"]["StringLike"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:aws-cn:eks:cn-north-1:*:cluster/demo"
    }


def test_each_role_has_the_boundary_that_is_named_for_all(described):
    roles = of_type(described[LONG], "iam_role")
    assert len(roles) > 5
    assert {one["properties"].get("permissions_boundary") for one in roles} == {EVERYTHING["platform_role_boundary"]}
    assert not any("permissions_boundary" in one["properties"] for one in of_type(described["plain"], "iam_role"))


@pytest.mark.parametrize("host", [host for host in AWS_HOSTS if host != "seed"])
def test_each_service_account_with_a_role_is_the_one_that_the_role_trusts(described, host):
    found = list(aws_entries(described[host]))
    roles = {
        f"${{out:{owner}.{one['name']}_arn}}": one["properties"] for owner, one in found if one["type"] == "iam_role"
    }
    pods = [one["properties"] for __, one in found if one["type"] == "eks_pod_identity_association"]
    addons = [one["properties"] for __, one in found if one["type"] == "eks_addon"]
    pods += [{"namespace": "kube-system", **row} for addon in addons for row in addon.get("pod_identity", [])]
    for pod in pods:
        trusted = roles[pod["role_arn"]]["trust_policy"]["Statement"][0]["Condition"]
        wanted = {"namespace": pod["namespace"], "service-account": pod["service_account"]}
        assert trusted["StringEquals"] == {f"aws:RequestTag/kubernetes-{key}": one for key, one in wanted.items()}
        (cluster,) = trusted["StringLike"].values()
        assert cluster.endswith(f":cluster/{host}") and f":eks:{REGIONS[host]}:" in cluster
    open_to_all = [
        one["name"] for one in roles.values() if any("pods.eks" in service for service in one.get("services", []))
    ]
    assert open_to_all == []


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_a_region_has_its_partition(region, partition):
    assert aws_partition(region) == partition


def test_arns_are_those_of_the_partition(described):
    written = str(component(described["china"], "karpenter_aws")["aws"]) + str(
        entry(described["china"], "storage_s3", "role")
    )
    # The boundary is as the user wrote it.
    written = written.replace(EVERYTHING["platform_role_boundary"], "")
    arns = set(re.findall(r"arn:[a-z-]+:(?!kms)[a-z0-9]+", written))
    assert arns == {f"arn:aws-cn:{service}" for service in ("ec2", "eks", "iam", "s3", "ssm")}
    assert "arn:aws-cn:elasticloadbalancing:" in str(entry(described["china"], "identity", "load_balancer_role"))
    roles = [
        entry(described["china"], owner, name)
        for owner, name in (("node_groups", "role"), ("karpenter_aws", "node_role"))
    ]
    assert all(role["properties"]["services"] == ["ec2.amazonaws.com.cn"] for role in roles)


# -- karpenter ----------------------------------------------------------------------------------------------------------
def test_karpenter_ends_and_marks_only_what_it_started(described):
    policy = entry(described["seed"], "karpenter_aws", "nodes_policy")["properties"]["document"]["Statement"]
    by_sid = {statement["Sid"]: statement for statement in policy}
    own = {
        "StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/seed": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }
    assert by_sid["EndOwn"]["Condition"] == own
    assert by_sid["StartMarked"]["Condition"]["StringEquals"] == {
        "aws:RequestTag/kubernetes.io/cluster/seed": "owned",
        "aws:RequestTag/eks:eks-cluster-name": "seed",
    }
    assert by_sid["MarkAtStart"]["Condition"]["StringEquals"]["ec2:CreateAction"] == [
        "RunInstances",
        "CreateFleet",
        "CreateLaunchTemplate",
    ]
    assert all("Condition" in statement for sid, statement in by_sid.items() if sid != "StartFrom")


def test_policies_leave_room_to_grow(described):
    for one in of_type(described["everything-with-a-long-name-as-it-may-be"], "iam_policy"):
        assert len(json.dumps(one["properties"]["document"], separators=(",", ":"))) < MAX_CHARACTERS * 0.8


# -- storage ------------------------------------------------------------------------------------------------------------
def test_the_claim_for_models_is_bound_to_the_access_point(described):
    manifests = component(described["plain"], "models")["manifests"]
    volume, claim = manifests[0]["spec"], manifests[1]["spec"]
    assert volume["csi"] == {"driver": "efs.csi.aws.com", "volumeHandle": "${out:storage_efs.models_volume_handle}"}
    assert volume["claimRef"]["name"] == "models" and claim["volumeName"] == manifests[0]["metadata"]["name"]
    assert volume["storageClassName"] == claim["storageClassName"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"


def test_the_access_point_writes_as_the_engines_user(described):
    point = entry(described["plain"], "storage_efs", "models")["properties"]
    assert point["uid"] == point["gid"] == 10001


def test_a_local_cluster_brings_volume_and_classes_itself(described):
    local = described["local"]
    volumes = [
        one["kind"] for one in component(local, "models")["manifests"] if one["kind"].startswith("PersistentVolume")
    ]
    assert volumes == ["PersistentVolumeClaim"]
    assert all("manifests" not in component(local, name) for name in ("storage_efs", "storage_ebs", "storage_s3"))
    assert entry(local, "storage_efs", "models")


def test_the_file_system_outlives_the_rest_unless_asked_otherwise(described):
    assert entry(described["plain"], "storage_efs", "files")["retain"] is True


def test_a_bucket_is_mounted_with_the_rights_that_were_asked_for(described):
    components = described["seed"]
    reading, __, writing, __ = component(components, "storage_s3")["manifests"]
    assert reading["spec"]["mountOptions"] == ["region us-west-2", "prefix llama/", "read-only"]
    assert writing["spec"]["accessModes"] == ["ReadWriteMany"]
    statements = entry(components, "storage_s3", "role")["properties"]["inline_policies"]["buckets"]["Statement"]
    assert statements[1] == {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": "arn:aws:s3:::my-models/llama/*",
    }


def test_only_one_storage_class_is_the_default(described):
    classes = [row for one in described["plain"] for row in one.get("manifests", []) if row["kind"] == "StorageClass"]
    defaults = [
        row["metadata"]["name"]
        for row in classes
        if (row["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    ]
    assert defaults == ["gp3"] and len(classes) == 2


def test_preflight_looks_for_every_name_that_roles_would_make(described):
    """Names were once restated by hand, and the role of the S3 driver was forgotten among others."""
    found = {(name.kind, name.name) for name in wanted(EVERYTHING, described[LONG]).names}
    made = {
        (entry["type"], entry["properties"].get("name", ""))
        for component, entry in aws_entries(described[LONG])
        if not entry.get("adopt")
    }
    assert found == set(made)
    (cluster,) = [name for kind, name in found if kind == "eks_cluster"]
    for kind, ending in (
        ("iam_role", "s3-csi"),
        ("iam_policy", "karpenter-nodes"),
        ("iam_instance_profile", "karpenter"),
        ("events_rule", "karpenter-"),
        ("ec2_security_group", "efs"),
    ):
        assert any(kind == one and name.startswith(f"{cluster}-{ending}") for one, name in found), (kind, ending)
