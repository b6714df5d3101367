# SPDX-License-Identifier: Apache-2.0
"""Every operation that we call, walked once in a whole life of every resource; no answer may leave botocore's models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.llm.on_eks.plugins.filter.pod_trust import pod_trust
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.tagging import tag_list
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.iam.policy import MAX_CHARACTERS
from ansible_collections.llm.on_eks.plugins.module_utils.aws.iam.role import MAX_INLINE
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey import lookups
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.observed import price_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.gather import gather
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from local.aws.admin import anywhere
from local.aws.callers import Caller
from local.aws.clock import Clock
from local.aws.config import EmulatorConfig
from local.aws.denials import DEPLOYER, refuse_denied
from local.aws.errors import Refusal
from local.aws.journal import Entry
from local.aws.pod_token import token_of
from local.aws.world import Session, World
from tests.support.emulated_aws import REGION, EmulatedAws, make_role
from tests.unit.aws.kinds import OWNER, Ground, allow, build, connect, live, sample
from tools.aws_permissions import PARTS, actions, all_calls, allowed, operations, parts, policies

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]
PERMISSIONS = REPO / "docs" / "aws_permissions.json"
# The same, as managed policies.
MANAGED = REPO / "docs" / "aws_permissions"
OPERATIONS = """
import json
from local.aws import server
from local.aws.world import OPERATIONS
print(json.dumps([list(key) for key in OPERATIONS]))
"""


@pytest.fixture(scope="module")
def walked():
    """Operations called by the resources alone, all operations called, and the emulator's refusals of its own answers."""
    aws = EmulatedAws().start()
    try:
        ground = Ground.make(aws)
        by_us, failures = set(), []
        for kind in sorted(RESOURCES):
            example = sample(kind, ground, aws)
            aws.admin("DELETE", "calls")
            try:
                live(kind, aws, example)
            except AwsError as error:
                failures.append(str(error))
            by_us |= set(aws.admin("GET", "calls"))
        aws.admin("DELETE", "calls")
        # As after a cluster that somebody deleted.
        build("iam_oidc_provider", aws, {"issuer": Unknown()}).plan_delete()
        connection = connect(aws)
        lookups.cluster_versions(connection)
        lookups.quota(connection, "ec2", "L-DB2E81BA")
        lookups.offerings(connection, ["g5.xlarge"])
        price_of(connection, "g5.xlarge")
        by_us |= set(aws.admin("GET", "calls"))
        callers = [None, _plant(aws, ground)]
        aws.admin("DELETE", "calls")
        _look_around(aws, callers)
        by_us |= set(aws.admin("GET", "calls"))
        _the_rest(aws, ground)
        yield by_us, by_us | set(aws.admin("GET", "calls")), failures
    finally:
        aws.kill()


def _plant(aws, ground):
    """Something of each kind that a census reads further, and the keys of a role's session."""
    ec2, elb, iam = aws.client("ec2"), aws.client("elbv2"), aws.client("iam")
    zone, tags = f"{REGION}a", tag_list(OWNER.tags)
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=_marked("volume"))["VolumeId"]
    ec2.create_snapshot(VolumeId=volume, TagSpecifications=_marked("snapshot"))
    ec2.create_network_interface(SubnetId=ground.subnets[0], TagSpecifications=_marked("network-interface"))
    ec2.run_instances(ImageId="ami-760aaa0f", MinCount=1, MaxCount=1, TagSpecifications=_marked("instance"))
    data = {"InstanceType": "m6i.large"}
    specs = _marked("launch-template")
    ec2.create_launch_template(LaunchTemplateName="x", LaunchTemplateData=data, TagSpecifications=specs)
    elb.create_load_balancer(Name="x", Subnets=ground.subnets[:2], Type="network", Tags=tags)
    iam.create_policy(PolicyName="planted", PolicyDocument=json.dumps(allow("s3:GetObject")))
    iam.create_open_id_connect_provider(Url="https://planted.example", ThumbprintList=[])
    iam.create_instance_profile(InstanceProfileName="planted")
    aws.client("kms").create_key(Tags=[{"TagKey": key, "TagValue": value} for key, value in OWNER.tags.items()])
    aws.client("ecr").create_repository(repositoryName="planted")
    aws.client("sqs").create_queue(QueueName="planted")
    aws.client("events").put_rule(Name="planted", EventPattern="{}")
    aws.client("logs").create_log_group(logGroupName="planted")
    aws.client("s3").create_bucket(Bucket="planted", CreateBucketConfiguration={"LocationConstraint": REGION})
    made = aws.client("sts").assume_role(RoleArn=make_role(aws, "deployer"), RoleSessionName="contract")["Credentials"]
    return {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
        "aws_session_token": made["SessionToken"],
    }


def _marked(kind):
    return [{"ResourceType": kind, "Tags": tag_list(OWNER.tags)}]


def _look_around(aws, callers):
    """What preflight and the census ask."""
    values = {
        "platform_cluster_name": "ground",
        "platform_aws_region": REGION,
        "platform_state_bucket": "planted",
        "network_vpc_id": "vpc-1",
        "node_groups_system": {"instance_types": ["m6i.large"]},
        "identity_drivers": [{"name": "efs_csi"}],
        "cluster_encryption_key": "own",
        "karpenter_aws_state": "present",
    }
    assert census(connect(aws), OWNER.cluster).unseen == ()
    for keys in callers:
        assert gather(connect(aws, keys), wanted(values), PERMISSIONS).refused == {}


def _the_rest(aws, ground):
    """Operations of the emulator that people and charts use, and our resources do not."""
    eks, efs = aws.client("eks"), aws.client("efs")
    name = ground.cluster
    role = ground.role
    eks.list_clusters()
    eks.list_nodegroups(clusterName=name)
    eks.list_addons(clusterName=name)
    eks.list_access_entries(clusterName=name)
    eks.list_access_policies()
    eks.describe_addon_configuration(addonName="vpc-cni", addonVersion="v1.20.1-eksbuild.1")
    # EKS made one for the nodes' role.
    eks.delete_access_entry(clusterName=name, principalArn=role)
    eks.create_access_entry(clusterName=name, principalArn=role)
    eks.update_access_entry(clusterName=name, principalArn=role, kubernetesGroups=["a"])
    key = f"arn:aws:kms:us-west-2:123456789012:key/{'0' * 8}"
    eks.associate_encryption_config(
        clusterName=name, encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": key}}]
    )
    arn = eks.describe_cluster(name=name)["cluster"]["arn"]
    eks.list_tags_for_resource(resourceArn=arn)
    eks.list_updates(name=name)
    group = {"clusterName": name, "nodegroupName": "g"}
    eks.create_nodegroup(**group, subnets=ground.subnets, nodeRole=role)
    eks.describe_nodegroup(**group)
    eks.update_nodegroup_version(**group)
    pod = {"namespace": "default", "serviceAccount": "pod"}
    eks.create_pod_identity_association(clusterName=name, **pod, roleArn=pod_role(aws))
    aws.client("eks-auth").assume_role_for_pod_identity(clusterName=name, token=token_of("default", "pod"))
    efs.put_backup_policy(FileSystemId=ground.file_system, BackupPolicy={"Status": "ENABLED"})
    efs.describe_backup_policy(FileSystemId=ground.file_system)
    efs.list_tags_for_resource(ResourceId=ground.file_system)
    me = aws.client("sts").get_caller_identity()["Arn"]
    aws.client("iam").simulate_principal_policy(PolicySourceArn=me, ActionNames=["eks:CreateCluster"])
    quotas = aws.client("service-quotas")
    quotas.list_service_quotas(ServiceCode="ec2")
    quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")


def pod_role(aws):
    document = pod_trust("default/pod", "pod_identity", "*", REGION)
    return aws.client("iam").create_role(RoleName="pod", AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]


def test_every_resource_lives_and_dies_without_an_answer_outside_the_models(walked):
    assert walked[2] == []


def test_every_operation_of_ours_was_walked(walked):
    done = subprocess.run([sys.executable, "-c", OPERATIONS], cwd=REPO, capture_output=True, text=True, check=True)
    known = {":".join(key) for key in json.loads(done.stdout.splitlines()[-1])}
    assert known - walked[1] == set()


def test_the_published_permissions_are_those_of_the_code():
    found = parts(all_calls())
    wanted = {PERMISSIONS: policies(all_calls())} | {MANAGED / f"{name}.json": part for name, part in found.items()}
    for file, part in wanted.items():
        text = json.dumps(part, indent=2) + "\n"
        if os.environ.get("UPDATE_DOCS"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        assert file.read_text() == text, "run UPDATE_DOCS=1 python -m pytest tests/contract/test_aws_emulator.py"


def test_every_file_that_has_a_client_of_aws_is_read_for_permissions():
    files = [file for folder in ("plugins", "tools") for file in (REPO / folder).rglob("*.py")]
    asking = {
        str(file.relative_to(REPO))
        for file in files
        if re.search(r"boto3\.session|(session|connection)\.client\(", file.read_text())
    }
    assert asking - set(operations()) == set()


def test_the_managed_policies_are_the_whole_and_iam_takes_each():
    found = {name: json.loads((MANAGED / f"{name}.json").read_text()) for name in PARTS}
    statements = [statement for part in found.values() for statement in part["Statement"]]
    whole = json.loads(PERMISSIONS.read_text())
    assert sorted(statements, key=str) == sorted(whole["Statement"], key=str)
    assert max(size(part) for part in found.values()) <= MAX_CHARACTERS
    assert size(whole) <= MAX_INLINE, "the whole stands in a role itself"


def size(document):
    return len(json.dumps(document, separators=(",", ":")))


def test_nothing_is_called_that_is_not_read_from_the_code(walked):
    assert {call for call in walked[0] if not call.startswith("sts:")} - all_calls() == set()


def test_without_any_one_permission_something_is_refused():
    published = set(allowed(json.loads(PERMISSIONS.read_text())))
    needed = {action: call for call in all_calls() for action in actions([call])}
    assert published == set(needed), "each is needed by a call, and each call has what it needs"


def test_the_emulator_refuses_a_deployer_some_call_without_any_one_permission():
    published = set(allowed(json.loads(PERMISSIONS.read_text())))
    calls = {action: call for call in sorted(all_calls()) for action in actions([call])}
    caller = Caller("arn:aws:iam::123456789012:user/x", "arn:aws:iam::123456789012:user/x", None)
    entry = Entry(0.0, 0, "POST", "/", [("User-Agent", f"Boto3 {DEPLOYER}")], b"")
    handed_on = {"roleArn": "arn:aws:iam::123456789012:role/x"}
    for action in sorted(published):
        world = World(EmulatorConfig(), Clock(), allowed=anywhere(sorted(published - {action})))
        service, __, name = calls[action].partition(":")
        call = SimpleNamespace(service=service, name=name, params=handed_on)
        with pytest.raises(Refusal, match=f"is not authorized to perform: {action} "):
            refuse_denied(Session(world, "123456789012", REGION, caller.arn), call, caller, entry)


@pytest.mark.parametrize(
    "action", ["elasticfilesystem:DescribeBackupPolicy", "s3:TagResource", "kms:CreateGrant", "iam:PassRole"]
)
def test_a_deployer_is_held_to_the_permissions_and_nobody_else(action):
    """What was once missing, each of another kind: a read of every run, tags at creation, a grant for a key, a role handed on."""
    aws = EmulatedAws().start()
    try:
        ground = Ground.make(aws)
        published = [one for one in allowed(json.loads(PERMISSIONS.read_text())) if one != action]
        aws.admin("PUT", "allowed", {"actions": published})
        kind, more = {
            "elasticfilesystem:DescribeBackupPolicy": ("efs_file_system", {"backup": True}),
            "s3:TagResource": ("s3_bucket", {}),
            "kms:CreateGrant": ("eks_cluster", {}),
            "iam:PassRole": ("eks_nodegroup", {}),
        }[action]
        with pytest.raises(AwsError, match=f"is not authorized to perform: {action}"):
            params = {**sample(kind, ground, aws).params, **more}
            build(kind, aws, params).apply()
            build(kind, aws, params).wait()
    finally:
        aws.kill()


def test_actions_have_the_names_that_iam_gives_them():
    found = actions(["efs:CreateFileSystem", "s3:HeadBucket", "sts:GetCallerIdentity"])
    assert found == ["elasticfilesystem:CreateFileSystem", "elasticfilesystem:TagResource", "s3:ListBucket"]
    # Classic load balancers have an API of their own, and the same permissions.
    assert actions(["elb:DescribeLoadBalancers"]) == actions(["elbv2:DescribeLoadBalancers"])
