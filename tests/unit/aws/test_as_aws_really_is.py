# SPDX-License-Identifier: Apache-2.0
"""What a first, second or last run met on real AWS, once the emulator knows it: each of these stopped a run before."""

from __future__ import annotations

import json

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError, NotOurs
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.plan import Rules, Tags, decide
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey import lookups
from tests.support.emulated_aws import EmulatedAws, make_role, make_subnets

from .kinds import OWNER, Ground, build, connect, make_cluster, sample


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture(scope="module")
def slow():
    """An account in which things take a moment."""
    with EmulatedAws("--pace", "0.001", "--delay", "late-logs=5", "--delay", "role=1.5") as emulated:
        yield emulated


@pytest.fixture(scope="module")
def old_cluster(slow):
    """(name, subnets) of one that is active."""
    __, subnets = make_subnets(slow)
    role, eks = make_role(slow, "old"), slow.client("eks")
    _patiently(lambda: eks.create_cluster(name="old", roleArn=role, resourcesVpcConfig={"subnetIds": subnets}))
    _patiently(lambda: None, until=lambda: eks.describe_cluster(name="old")["cluster"]["status"] == "ACTIVE")
    return "old", subnets


EMPTY = [None, [], {}, ""]


@pytest.mark.parametrize("current", [{}, *({"field": one} for one in EMPTY), {"field": {"inner": []}}])
@pytest.mark.parametrize("desired", EMPTY)
def test_absent_and_empty_are_the_same(current, desired):
    """Services leave out what is empty: https://github.com/aws-controllers-k8s/community/issues/2442."""
    assert decide("x", current, {"field": desired}).verb == "none"
    assert decide("x", current, {"field": [desired]}, Tags(), Rules()).verb == "update", (
        "a list with an empty member is none"
    )


def test_what_is_there_is_still_taken_away_by_an_empty_wish():
    assert decide("x", {"field": ["a"]}, {"field": []}).verb == "update"
    assert decide("x", {"field": [{"key": "a", "value": ""}]}, {"field": [{"key": "a"}]}).verb == "none"
    assert decide("x", {"field": False}, {"field": True}).verb == "update"


def test_a_node_group_without_taints_and_labels_is_in_order_at_once(aws, ground):
    params = {**sample("eks_nodegroup", ground, aws).params, "taints": [], "labels": {}}
    build("eks_nodegroup", aws, params).apply()
    resource = build("eks_nodegroup", aws, params)
    assert "taints" not in resource.wait(), "AWS leaves out what is empty"
    aws.admin("DELETE", "calls")
    assert build("eks_nodegroup", aws, params).apply().verb == "none"
    assert "eks:UpdateNodegroupConfig" not in aws.admin("GET", "calls")


def test_an_empty_update_is_refused_as_aws_refuses_it(aws, ground):
    params = sample("eks_nodegroup", ground, aws).params
    build("eks_nodegroup", aws, params).apply()
    with pytest.raises(Exception, match="You cannot specify an empty request"):
        aws.client("eks").update_nodegroup_config(
            clusterName="ground", nodegroupName=params["name"], taints={"addOrUpdateTaints": []}
        )


FAILS = [
    ("eks_nodegroup", "eks", "CreateNodegroup", "NodeCreationFailure: Instances failed to join"),
    ("eks_addon", "eks", "CreateAddon", "ConfigurationConflict"),
    ("eks_cluster", "eks", "CreateCluster", "The control plane could not be created"),
    ("ec2_nat_gateway", "ec2", "CreateNatGateway", "has no Internet gateway attached"),
    ("efs_mount_target", "efs", "CreateMountTarget", "error"),
    ("ec2_endpoint", "ec2", "CreateVpcEndpoint", "could not be created"),
]


@pytest.mark.parametrize(("kind", "service", "operation", "words"), FAILS)
def test_a_creation_that_failed_is_said_and_made_anew_by_the_next_run(aws, ground, kind, service, operation, words):
    params = sample(kind, ground, aws).params
    if kind == "ec2_endpoint":
        params = {**params, "endpoint_type": "Interface", "endpoint_service": "sts", "subnet_ids": ground.subnets[:1]}
        params["route_table_ids"] = None
    aws.admin("POST", "faults", {"kind": "fails", "service": service, "operation": operation})
    first = build(kind, aws, params)
    first.apply()
    with pytest.raises(AwsError, match=words):
        first.wait(timeout_s=5)
    planned = build(kind, aws, params).plan()
    # A failed NAT gateway counts as gone; what it holds goes before the next one is made.
    assert planned.verb == ("create" if kind == "ec2_nat_gateway" else "replace")
    assert kind == "ec2_nat_gateway" or words in str(planned.changes[0])
    second = build(kind, aws, params)
    second.apply()
    second.wait(timeout_s=5)
    assert build(kind, aws, params).plan().verb == "none"


@pytest.mark.parametrize("again", [False, True])
def test_a_nat_gateway_that_failed_holds_neither_subnet_nor_address_after_the_next_run(aws, ground, again):
    ec2 = aws.client("ec2")

    def held():
        interfaces = ec2.describe_network_interfaces()["NetworkInterfaces"]
        return len(interfaces), len(ec2.describe_addresses()["Addresses"])

    params, before = sample("ec2_nat_gateway", ground, aws).params, held()
    aws.admin("POST", "faults", {"kind": "fails", "service": "ec2", "operation": "CreateNatGateway"})
    build("ec2_nat_gateway", aws, params).apply()
    one_more = tuple(number + 1 for number in before)
    assert held() == one_more, "it failed, and holds both"
    if again:
        second = build("ec2_nat_gateway", aws, params)
        second.apply()
        second.wait(timeout_s=5)
        assert held() == one_more
    assert build("ec2_nat_gateway", aws, params).delete().verb == "delete"
    assert held() == before


def test_a_failed_creation_of_somebody_else_is_left_alone(aws, ground):
    params = sample("eks_nodegroup", ground, aws).params
    aws.admin("POST", "faults", {"kind": "fails", "service": "eks", "operation": "CreateNodegroup"})
    build("eks_nodegroup", aws, params, Owner("other", "x")).apply()
    with pytest.raises(NotOurs):
        build("eks_nodegroup", aws, params).plan()


def test_log_groups_that_eks_wrote_again_are_taken_over(aws):
    params = {"name": f"/aws/eks/{OWNER.cluster}/cluster", "retention_days": 7}
    aws.client("logs").create_log_group(logGroupName=params["name"])
    plan = build("log_group", aws, params).apply()
    assert plan.verb == "update" and plan.set_tags == OWNER.tags
    (row,) = aws.client("logs").describe_log_groups(logGroupNamePrefix=params["name"])["logGroups"]
    assert row["retentionInDays"] == 7
    build("log_group", aws, params).delete()


def test_the_log_group_of_a_strangers_cluster_stays_theirs(aws, ground):
    make_cluster(aws, ground, "theirs")
    params = {"name": "/aws/eks/theirs/cluster"}
    aws.client("logs").create_log_group(logGroupName=params["name"])
    with pytest.raises(NotOurs):
        build("log_group", aws, params, Owner("theirs", "cluster")).plan()
    with pytest.raises(NotOurs):
        build("log_group", aws, params).plan()


def test_eks_writes_its_log_group_again_after_its_end(slow):
    """https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2763"""
    __, subnets = make_subnets(slow)
    logs, role = slow.client("logs"), make_role(slow, "again")
    _patiently(lambda: slow.client("eks").create_cluster(
        name="again", roleArn=role, resourcesVpcConfig={"subnetIds": subnets},
        logging={"clusterLogging": [{"types": ["audit"], "enabled": True}]},
    ))  # fmt: skip
    owner = Owner("again", "cluster")
    cluster, group = (build(kind, slow, params, owner) for kind, params in (
        ("eks_cluster", {"name": "again", "role_arn": role, "subnet_ids": subnets}),
        ("log_group", {"name": "/aws/eks/again/cluster"}),
    ))  # fmt: skip
    group.apply()
    slow.client("eks").tag_resource(
        resourceArn=slow.client("eks").describe_cluster(name="again")["cluster"]["arn"], tags=owner.tags
    )
    assert cluster.delete().verb == "delete"
    logs.delete_log_group(logGroupName="/aws/eks/again/cluster")

    def groups():
        return logs.describe_log_groups(logGroupNamePrefix="/aws/eks/again")["logGroups"]

    _patiently(lambda: None, until=groups)
    (row,) = groups()
    assert logs.list_tags_for_resource(resourceArn=row["arn"].removesuffix(":*"))["tags"] == {}
    assert group.apply().verb == "update", "the next cluster's run takes it over"
    assert group.delete().verb == "delete"
    assert groups() == [], "and destroy takes it again"


def test_a_retention_that_the_service_does_not_take_is_refused_before_anything_is_made(aws):
    with pytest.raises(AwsError, match="retention_days must be one of: 1, 3, 5"):
        build("log_group", aws, {"name": "x", "retention_days": 45})
    aws.client("logs").create_log_group(logGroupName="x")
    with pytest.raises(Exception, match="retentionInDays"):
        aws.client("logs").put_retention_policy(logGroupName="x", retentionInDays=45)


@pytest.mark.parametrize("kind", ["eks_cluster", "eks_nodegroup", "eks_addon", "eks_pod_identity_association"])
def test_a_role_that_is_not_known_everywhere_is_waited_for_in_all_of_awss_words(slow, old_cluster, kind):
    """The dice of the emulator choose among the recorded words; each run of a role's first second meets some."""
    words = RESOURCES[kind].passing[f"create_{kind[4:]}"]
    recorded = _recorded(f"Create{''.join(part.capitalize() for part in kind[4:].split('_'))}")
    assert recorded, "the emulator has words for it"
    for message in recorded:
        assert any(word.lower() in message.lower() for word in words), message
    cluster, subnets = {"cluster": old_cluster[0]}, old_cluster[1]
    role, name = make_role(slow, f"young-{kind.replace('_', '-')}"), f"young{kind[4:8]}"
    params = {
        "eks_cluster": {"name": name, "role_arn": role, "subnet_ids": subnets},
        "eks_nodegroup": {**cluster, "name": name, "role_arn": role, "subnet_ids": subnets, "instance_types": ["m7i.large"]},
        "eks_addon": {
            **cluster, "name": "vpc-cni",
            "pod_identity": [{"service_account": "aws-node", "role_arn": role}],
        },
        "eks_pod_identity_association": {**cluster, "namespace": "x", "service_account": "x", "role_arn": role},
    }[kind]  # fmt: skip
    assert build(kind, slow, params, None).apply().verb == "create"


def test_a_role_that_trusts_another_service_is_refused_for_good(aws, ground):
    role = make_role(aws, "of-the-cluster", "eks.amazonaws.com")
    params = {**sample("eks_nodegroup", ground, aws).params, "role_arn": role}
    with pytest.raises(AwsError, match="does not let this service assume it"):
        build("eks_nodegroup", aws, params).apply()


def test_nodes_of_our_own_groups_are_not_others(aws, ground):
    params = {**sample("eks_nodegroup", ground, aws).params, "instance_types": ["g6.xlarge"], "min_size": 2}
    build("eks_nodegroup", aws, params).apply()
    build("eks_nodegroup", aws, params).wait()
    tags = {
        tag["Key"]
        for each in aws.client("ec2").describe_instances()["Reservations"]
        for one in each["Instances"] if one["InstanceType"] == "g6.xlarge"
        for tag in one["Tags"]
    }  # fmt: skip
    assert tags == {"eks:cluster-name", "eks:nodegroup-name", "kubernetes.io/cluster/ground"}, "none of the group's own"
    assert lookups.vcpus_in_use(connect(aws), ground.cluster).get(("g", "on-demand"), 0) == 0
    assert lookups.vcpus_in_use(connect(aws), "another")["g", "on-demand"] == 8
    build("eks_nodegroup", aws, params).delete()
    assert lookups.vcpus_in_use(connect(aws), "another").get(("g", "on-demand"), 0) == 0


def test_a_node_takes_its_root_volume_with_it(aws, ground):
    def volumes():
        return {row["VolumeId"] for row in aws.client("ec2").describe_volumes()["Volumes"]}

    before = volumes()
    params = {**sample("eks_nodegroup", ground, aws).params, "name": "with-disks", "min_size": 2}
    build("eks_nodegroup", aws, params).apply()
    build("eks_nodegroup", aws, params).wait()
    assert len(volumes() - before) == 2
    build("eks_nodegroup", aws, params).delete()
    assert volumes() == before


@pytest.mark.parametrize("tags", [
    {"llm.on_eks/cluster": "demo"}, {"eks:cluster-name": "demo"}, {"eks:eks-cluster-name": "demo"},
    {"kubernetes.io/cluster/demo": "owned"},
])  # fmt: skip
def test_instances_are_ours_by_any_of_the_marks_that_node_groups_and_karpenter_set(tags):
    row = {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    assert lookups.is_node_of("demo", row) and not lookups.is_node_of("other", row)


def test_a_zone_has_one_mount_target_whichever_of_its_subnets_asks(aws, ground):
    zone = aws.client("ec2").describe_subnets(SubnetIds=ground.subnets[:1])["Subnets"][0]["AvailabilityZone"]
    twin = aws.client("ec2").create_subnet(VpcId=ground.vpc, CidrBlock="10.7.99.0/24", AvailabilityZone=zone)
    params = sample("efs_mount_target", ground, aws).params
    build("efs_mount_target", aws, params).apply()
    second = {**params, "subnet_id": twin["Subnet"]["SubnetId"]}
    assert build("efs_mount_target", aws, second).apply().verb == "none"
    build("efs_mount_target", aws, second).delete()
    assert build("efs_mount_target", aws, params).delete().verb == "none"


def test_a_capacity_block_without_a_launch_template_is_refused_in_words(aws, ground):
    params = {**sample("eks_nodegroup", ground, aws).params, "capacity_type": "CAPACITY_BLOCK"}
    with pytest.raises(AwsError, match="needs a launch_template that names the reservation"):
        build("eks_nodegroup", aws, params).plan()
    with pytest.raises(Exception, match="requires a launch template"):
        aws.client("eks").create_nodegroup(
            clusterName="ground", nodegroupName="cb", subnets=ground.subnets, nodeRole=ground.role,
            capacityType="CAPACITY_BLOCK",
        )  # fmt: skip


@pytest.mark.parametrize(("region", "service", "name"), [
    ("us-west-2", "s3", "com.amazonaws.us-west-2.s3"),
    ("cn-north-1", "s3", "com.amazonaws.cn-north-1.s3"),
    ("cn-north-1", "ecr.api", "cn.com.amazonaws.cn-north-1.ecr.api"),
    ("cn-northwest-1", "logs", "com.amazonaws.cn-northwest-1.logs"),
])  # fmt: skip
def test_endpoints_have_the_names_that_their_region_knows(aws, region, service, name):
    from ansible_collections.llm.on_eks.plugins.module_utils.aws.ec2.endpoint import name_of

    assert name_of(service, region) == name
    ec2 = aws.client("ec2", region=region)
    vpc = ec2.create_vpc(CidrBlock="10.3.0.0/16")["Vpc"]["VpcId"]
    made = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName=name, VpcEndpointType="Gateway" if service == "s3" else "Interface"
    )
    assert made["VpcEndpoint"]["ServiceName"] == name
    with pytest.raises(Exception, match="InvalidServiceName"):
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"x.{name}")


def test_an_add_on_takes_only_what_its_schema_has(aws, ground):
    """https://github.com/aws/containers-roadmap/issues/2755: the EFS driver's add-on takes no tags."""
    cluster = make_cluster(aws, ground, "schemas")
    given = {"cluster": cluster, "name": "aws-efs-csi-driver", "configuration": {"controller": {"tags": {"a": "b"}}}}
    with pytest.raises(AwsError, match=r"configuration controller\.tags is not in the schema of version v"):
        build("eks_addon", aws, given).plan()
    with pytest.raises(Exception, match="Json schema validation failed"):
        aws.client("eks").create_addon(
            clusterName=cluster, addonName=given["name"], configurationValues=json.dumps(given["configuration"])
        )
    given["configuration"] = {"controller": {"replicaCount": 1}}
    assert build("eks_addon", aws, given).apply().verb == "create"


def test_a_gateway_waits_for_addresses_that_are_on_their_way_out(slow):
    vpc = build("ec2_vpc", slow, {"name": "igw", "cidr": "10.9.0.0/16"})
    vpc.apply()
    identifier = vpc.outputs()["id"]
    gateway = build("ec2_internet_gateway", slow, {"name": "igw", "vpc_id": identifier})
    gateway.apply()
    subnet = slow.client("ec2").create_subnet(VpcId=identifier, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    elb = slow.client("elbv2")
    arn = elb.create_load_balancer(Name="k8s-x", Subnets=[subnet], Type="network", Scheme="internet-facing")[
        "LoadBalancers"
    ][0]["LoadBalancerArn"]
    assert "network interface" in gateway.interfaces("vpc-id", identifier, public=True)[0]
    elb.delete_load_balancer(LoadBalancerArn=arn)
    assert gateway.delete().verb == "delete"


def test_a_cluster_that_is_still_being_made_is_waited_for_before_its_end(slow):
    __, subnets = make_subnets(slow)
    role = make_role(slow, "unfinished")
    resource = build("eks_cluster", slow, {"name": "unfinished", "role_arn": role, "subnet_ids": subnets})
    resource.apply()
    assert build("eks_cluster", slow, resource.params).delete().verb == "delete"


def test_a_key_that_nobody_here_may_look_at_is_not_ours(aws):
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "kms:*", "Resource": "*"}
    ]}  # fmt: skip
    made = aws.client("kms").create_key(Policy=json.dumps(policy), BypassPolicyLockoutSafetyCheck=True)
    with pytest.raises(Exception, match="no resource-based policy allows it"):
        aws.client("kms").describe_key(KeyId=made["KeyMetadata"]["KeyId"])
    assert build("kms_key", aws, {"name": "ours"}).plan().verb == "create"


def _recorded(operation):
    from local.aws.errors import recorded

    return [
        one.message for one in recorded().values() if one.id.startswith("eks.role_") and operation in one.operations
    ]


def _patiently(do, until=lambda: True, timeout_s=15.0):
    """Whatever it gives, once it no longer fails."""
    import time

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = do()
            if until():
                return found
        except Exception:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_standard_tier_is_asked_for_only_to_come_back_to_it(aws, ground):
    cluster = build("eks_cluster", aws, {"name": "tiers", "scaling_tier": "standard"})
    assert cluster.desired(None)["controlPlaneScalingConfig"] is None
    assert cluster.desired({})["controlPlaneScalingConfig"] is None, "a region without tiers says nothing of them"
    paid = {"controlPlaneScalingConfig": {"tier": "tier-xl"}}
    assert cluster.desired(paid)["controlPlaneScalingConfig"] == {"tier": "standard"}
    assert build("eks_cluster", aws, {"name": "t", "scaling_tier": "tier-xl"}).desired(None)[
        "controlPlaneScalingConfig"
    ] == {"tier": "tier-xl"}


@pytest.mark.parametrize(("kind", "operation", "code"), [
    ("ec2_vpc", "ModifyVpcAttribute", "InvalidVpcID.NotFound"),
    ("ec2_internet_gateway", "AttachInternetGateway", "InvalidInternetGatewayID.NotFound"),
    ("ec2_security_group", "AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
    ("ec2_nat_gateway", "CreateNatGateway", "InvalidAllocationID.NotFound"),
    ("ec2_route_table", "AssociateRouteTable", "InvalidRouteTableID.NotFound"),
])  # fmt: skip
def test_what_was_made_a_moment_ago_may_not_be_known_everywhere(aws, ground, kind, operation, code):
    """https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"""
    fault = {"service": "ec2", "operation": operation, "kind": "error", "code": code, "status": 400, "count": 1}
    aws.admin("POST", "faults", fault)
    assert build(kind, aws, sample(kind, ground, aws).params).apply().verb == "create"


@pytest.mark.parametrize("let_in", [False, True])
def test_a_private_api_is_reached_only_where_a_rule_lets_in(aws, ground, let_in):
    name = f"private-{let_in}".lower()
    aws.admin("PUT", f"endpoints/{name}", {"endpoint": "https://127.0.0.1:6443"})
    ec2 = aws.client("ec2")
    group = ec2.create_security_group(GroupName=name, Description="x", VpcId=ground.vpc)["GroupId"]
    if let_in:
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    params = {"name": name, "role_arn": ground.role, "subnet_ids": ground.subnets, "security_group_ids": [group]}
    build("eks_cluster", aws, {**params, "endpoint_public_access": False}).apply()
    endpoint = build("eks_cluster", aws, params).wait()["endpoint"]
    assert (endpoint == "https://127.0.0.1:6443") is let_in


def test_a_creation_whose_answer_was_lost_is_not_made_twice(aws, ground):
    """botocore makes a token for each try: with the first one's, AWS answers the second try as it answered the first."""
    params = sample("eks_nodegroup", ground, aws).params
    aws.admin("POST", "faults", {"kind": "lost", "operation": "CreateNodegroup", "count": 1})
    group = build("eks_nodegroup", aws, params)
    assert group.apply().verb == "create"
    assert group.wait()["status"] == "ACTIVE"
    nat = sample("ec2_nat_gateway", ground, aws).params
    aws.admin("POST", "faults", {"kind": "lost", "operation": "CreateNatGateway", "count": 1})
    build("ec2_nat_gateway", aws, nat).apply()
    found = aws.client("ec2").describe_nat_gateways(Filter=[{"Name": "tag:Name", "Values": [nat["name"]]}])
    assert len(found["NatGateways"]) == 1


@pytest.mark.parametrize(
    ("kind", "operation"), [("efs_file_system", "CreateFileSystem"), ("efs_access_point", "CreateAccessPoint")]
)
def test_efs_refuses_a_token_while_what_it_made_is_there_and_takes_it_again_afterwards(aws, ground, kind, operation):
    params = sample(kind, ground, aws).params
    for __ in range(2):
        aws.admin("POST", "faults", {"kind": "lost", "operation": operation, "count": 1})
        assert build(kind, aws, params).apply().verb == "create"
        assert build(kind, aws, params).wait(5)["LifeCycleState"] == "available"
        assert build(kind, aws, params).delete().verb == "delete"


def test_a_file_system_that_a_stranger_made_meanwhile_is_not_taken_for_ours(aws):
    late = build("efs_file_system", aws, {"name": "contested"})
    desired = late.plan().desired
    aws.client("efs").create_file_system(CreationToken="contested")
    with pytest.raises(NotOurs, match="not marked as ours"):
        late.create(desired)


def test_files_are_mounted_by_tls_and_by_nobody_as_root(aws):
    params = {"name": "safe-files", "tls_only": True}
    plan = build("efs_file_system", aws, params).plan()
    assert "(known after apply)" in str(plan.desired["policy"])
    made = build("efs_file_system", aws, params)
    made.apply()
    identifier = made.wait()["FileSystemId"]
    document = json.loads(aws.client("efs").describe_file_system_policy(FileSystemId=identifier)["Policy"])
    effects = {one["Sid"]: one for one in document["Statement"]}
    assert "ClientRootAccess" not in json.dumps(document)
    assert "elasticfilesystem:ClientMount" in effects["MountAndWrite"]["Action"], (
        "a policy without it lets nobody mount"
    )
    assert effects["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert build("efs_file_system", aws, params).plan().verb == "none"
    other = json.dumps({**document, "Statement": document["Statement"][:1]})
    aws.client("efs").put_file_system_policy(FileSystemId=identifier, Policy=other)
    assert build("efs_file_system", aws, params).plan().verb == "update"


def test_only_named_principals_mount_where_iam_decides(aws):
    role = make_role(aws, "mounting-nodes")
    params = {"name": "nodes-files", "tls_only": True, "mount_principals": [role, role]}
    made = build("efs_file_system", aws, params)
    made.apply()
    identifier = made.wait()["FileSystemId"]
    document = json.loads(aws.client("efs").describe_file_system_policy(FileSystemId=identifier)["Policy"])
    allowed = [one for one in document["Statement"] if one["Effect"] == "Allow"]
    assert [one["Principal"] for one in allowed] == [{"AWS": [role]}]
    assert build("efs_file_system", aws, params).plan().verb == "none"
    assert build("efs_file_system", aws, {**params, "mount_principals": []}).plan().verb == "update"


def test_a_role_that_efs_does_not_know_yet_is_waited_for(aws):
    stranger = "arn:aws:iam::123456789012:role/made-in-a-moment"
    files = build("efs_file_system", aws, {"name": "early-files", "tls_only": True, "mount_principals": [stranger]})
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        make_role(aws, "made-in-a-moment")

    files.connection.sleep = sleep
    files.apply()
    assert len(waited) == 1


def test_old_versions_of_records_do_not_stay_for_ever(aws):
    params = {"name": "llm-records-old", "old_versions_days": 30}
    build("s3_bucket", aws, params).apply()
    (rule,) = aws.client("s3").get_bucket_lifecycle_configuration(Bucket="llm-records-old")["Rules"]
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    assert build("s3_bucket", aws, params).plan().verb == "none"
    assert build("s3_bucket", aws, {**params, "old_versions_days": 7}).plan().verb == "update"


@pytest.mark.parametrize(
    ("code", "service", "operation", "given", "words"),
    [
        ("L-0263D0A3", "ec2", "allocate_address", {"Domain": "vpc"}, "AddressLimitExceeded"),
        ("L-F678F1CE", "vpc", "create_vpc", {"CidrBlock": "10.1.0.0/16"}, "VpcLimitExceeded"),
    ],
)
def test_addresses_and_vpcs_have_a_limit(aws, code, service, operation, given, words):
    region = "us-west-2"
    aws.admin("PUT", f"quotas/{region}/{code}", {"value": 0})
    try:
        assert lookups.quota(connect(aws), service, code)["value"] == 0
        with pytest.raises(Exception, match=words):
            getattr(aws.client("ec2"), operation)(**given)
    finally:
        aws.admin("PUT", f"quotas/{region}/{code}", {"value": 200})


def test_a_flow_log_waits_for_its_role_and_is_refused_a_strange_one(slow):
    vpc = slow.client("ec2").create_vpc(CidrBlock="10.3.0.0/16")["Vpc"]["VpcId"]
    slow.client("logs").create_log_group(logGroupName="/vpc/flow")
    role = make_role(slow, "flow-logs", "vpc-flow-logs.amazonaws.com")
    params = {"name": "flow", "vpc_id": vpc, "log_group": "/vpc/flow", "role_arn": role}
    assert build("ec2_flow_log", slow, params).apply().verb == "create"
    assert build("ec2_flow_log", slow, params).plan().verb == "none"
    strange = make_role(slow, "strange", "ec2.amazonaws.com")
    with pytest.raises(Exception, match="Unable to assume given IAM role"):
        slow.client("ec2").create_flow_logs(
            ResourceIds=[vpc],
            ResourceType="VPC",
            TrafficType="ALL",
            LogGroupName="/vpc/flow",
            DeliverLogsPermissionArn=strange,
        )
