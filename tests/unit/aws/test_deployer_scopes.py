# SPDX-License-Identifier: Apache-2.0
"""What a deployer may change by the published permissions: what is named as ours, and no stranger's."""

from __future__ import annotations

import json
import re

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.aws.conditions import like
from tests.support.described import REPO
from tests.support.emulated_aws import KEYS, REGION, EmulatedAws, make_role, make_subnets, trust
from tools.aws_scopes import UNNAMED, is_bound

DATA = json.loads((REPO / "local/aws/data/authorization.json").read_text())
PUBLISHED = json.loads((REPO / "docs/aws_permissions.json").read_text())["Statement"]
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
WORKER = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
ANYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
# Actions that stand on everything, whatever AWS lets them be bound to, and are no reads.
ON_EVERYTHING = {
    "iam:SimulatePrincipalPolicy": "asks about whoever runs this",
}


@pytest.fixture(scope="module")
def aws():
    """With clusters, roles and the like of ours and of a stranger."""
    with EmulatedAws("--deployer-names", "llm-") as made:
        vpc, subnets = make_subnets(made)
        for name in ("llm-demo", "theirs"):
            role = make_role(made, f"{name}-node")
            where = {"resourcesVpcConfig": {"subnetIds": subnets}, "accessConfig": {"authenticationMode": "API"}}
            made.client("eks").create_cluster(name=name, roleArn=role, **where)
            made.client("iam").create_policy(PolicyName=f"{name}-nodes", PolicyDocument=ANYTHING)
            made.client("iam").create_instance_profile(InstanceProfileName=f"{name}-node")
            made.client("sqs").create_queue(QueueName=name)
            made.client("events").put_rule(Name=f"{name}-karpenter", EventPattern="{}")
            made.client("logs").create_log_group(logGroupName=f"/aws/eks/{name}/cluster")
        make_role(made, "llm-deployer")
        made.vpc, made.subnets = vpc, subnets
        yield made


def ask(aws, service, operation, **params):
    """One call of a deployer; whether it is allowed. Raises whatever else it ends with."""
    config = Config(retries={"total_max_attempts": 1}, user_agent_extra="llm.on_eks")
    client = boto3.client(service, endpoint_url=aws.url, region_name=REGION, config=config, **KEYS)
    try:
        getattr(client, operation)(**params)
    except ClientError as error:
        if "not authorized" not in error.response["Error"]["Message"]:
            raise
        return False
    return True


CHANGES = {
    "a role": (
        "iam",
        "update_assume_role_policy",
        {"RoleName": "{}-node", "PolicyDocument": trust("ec2.amazonaws.com")},
    ),
    "a role's policy": (
        "iam",
        "put_role_policy",
        {"RoleName": "{}-node", "PolicyName": "x", "PolicyDocument": ANYTHING},
    ),
    "a policy of AWS": ("iam", "attach_role_policy", {"RoleName": "{}-node", "PolicyArn": WORKER}),
    "a mark": ("iam", "tag_role", {"RoleName": "{}-node", "Tags": [{"Key": "a", "Value": "b"}]}),
    "a managed policy": (
        *("iam", "create_policy_version"),
        {"PolicyArn": "arn:aws:iam::123456789012:policy/{}-nodes", "PolicyDocument": ANYTHING},
    ),
    "a new role": (
        *("iam", "create_role"),
        {"RoleName": "{}-new", "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")},
    ),
    "a role on instances": (
        *("iam", "add_role_to_instance_profile"),
        {"InstanceProfileName": "{}-node", "RoleName": "llm-demo-node"},
    ),
    "a cluster": ("eks", "update_cluster_config", {"name": "{}", "deletionProtection": True}),
    "who is let in": (
        *("eks", "create_access_entry"),
        {"clusterName": "{}", "principalArn": "arn:aws:iam::123456789012:role/llm-deployer"},
    ),
    "a queue": (
        *("sqs", "set_queue_attributes"),
        {"QueueUrl": "https://sqs.us-west-2.amazonaws.com/123456789012/{}", "Attributes": {"VisibilityTimeout": "60"}},
    ),
    "a rule": ("events", "put_rule", {"Name": "{}-karpenter", "EventPattern": '{"source": ["aws.ec2"]}'}),
    "logs": ("logs", "put_retention_policy", {"logGroupName": "/aws/eks/{}/cluster", "retentionInDays": 30}),
}


def filled(value, name):
    if isinstance(value, dict):
        return {key: filled(one, name) for key, one in value.items()}
    return value.replace("{}", name) if isinstance(value, str) else value


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_what_is_named_as_ours_may_be_changed_and_a_strangers_not(aws, what):
    service, operation, params = CHANGES[what]
    assert ask(aws, service, operation, **filled(params, "llm-demo"))
    assert not ask(aws, service, operation, **filled(params, "theirs"))


def test_a_strangers_role_is_handed_to_nothing(aws):
    group = {"clusterName": "llm-demo", "subnets": aws.subnets}
    roles = {name: f"arn:aws:iam::123456789012:role/{name}-node" for name in ("llm-demo", "theirs")}
    assert not ask(aws, "eks", "create_nodegroup", nodegroupName="a", nodeRole=roles["theirs"], **group)
    assert ask(aws, "eks", "create_nodegroup", nodegroupName="b", nodeRole=roles["llm-demo"], **group)
    theirs = {"InstanceProfileName": "llm-demo-node", "RoleName": "theirs-node"}
    assert not ask(aws, "iam", "add_role_to_instance_profile", **theirs)


def test_no_role_becomes_an_administrator_by_a_policy_of_aws(aws):
    for policy in (ADMINISTRATOR, "arn:aws:iam::aws:policy/IAMFullAccess", "arn:aws:iam::aws:policy/job-function/x"):
        assert not ask(aws, "iam", "attach_role_policy", RoleName="llm-demo-node", PolicyArn=policy)


BOUNDARY = "arn:aws:iam::123456789012:policy/most"


@pytest.fixture
def bounded(aws):
    """The account, where a deployer makes roles with a boundary only, as role `registry` then describes it."""
    usual = json.loads(json.dumps(PUBLISHED))
    for statement in usual:
        if statement["Sid"] in ("IamGrant", "IamAttach"):
            statement.setdefault("Condition", {})["StringEquals"] = {"iam:PermissionsBoundary": BOUNDARY}
    aws.client("iam").create_policy(PolicyName="most", PolicyDocument=ANYTHING)
    aws.admin("PUT", "allowed", {"statements": usual})
    yield aws
    aws.admin("PUT", "allowed", {"statements": PUBLISHED})


def test_a_deployer_that_is_bounded_makes_no_role_without_its_boundary(bounded):
    role = {"RoleName": "llm-bounded", "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")}
    assert not ask(bounded, "iam", "create_role", **role)
    assert ask(bounded, "iam", "create_role", **role, PermissionsBoundary=BOUNDARY)
    assert ask(bounded, "iam", "attach_role_policy", RoleName="llm-bounded", PolicyArn=WORKER)
    assert not ask(bounded, "iam", "attach_role_policy", RoleName="llm-demo-node", PolicyArn=WORKER)
    assert not ask(bounded, "iam", "put_role_policy", RoleName="llm-demo-node", PolicyName="x", PolicyDocument=ANYTHING)
    other = {"RoleName": "llm-bounded", "PermissionsBoundary": ADMINISTRATOR}
    assert not ask(bounded, "iam", "put_role_permissions_boundary", **other)


def test_a_deployer_gives_itself_nothing(aws):
    assert not ask(aws, "iam", "put_role_policy", RoleName="llm-deployer", PolicyName="x", PolicyDocument=ANYTHING)
    assert not ask(aws, "iam", "attach_role_policy", RoleName="llm-deployer", PolicyArn=WORKER)
    policy = "arn:aws:iam::123456789012:policy/llm-deployer-cluster"
    assert not ask(aws, "iam", "create_policy_version", PolicyArn=policy, PolicyDocument=ANYTHING)
    assert ask(aws, "iam", "get_role", RoleName="llm-deployer")


def ended(aws, owner):
    """What holds data or serves somebody, with our mark of a cluster: (service, operation, parameters of its end)."""
    tags = [{"Key": "llm.on_eks/cluster", "Value": owner}]

    def marked(kind):
        return [{"ResourceType": kind, "Tags": tags}]

    ec2, elb = aws.client("ec2"), aws.client("elbv2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=marked("volume"))
    started = ec2.run_instances(ImageId="ami-760aaa0f", MinCount=1, MaxCount=1, TagSpecifications=marked("instance"))
    files = aws.client("efs").create_file_system(CreationToken=owner, Tags=tags)
    key = aws.client("kms").create_key(Tags=[{"TagKey": tags[0]["Key"], "TagValue": owner}])
    balancer = elb.create_load_balancer(Name=owner, Subnets=aws.subnets, Type="network", Tags=tags)
    group = elb.create_target_group(Name=owner, Protocol="TCP", Port=80, VpcId=aws.vpc, Tags=tags)
    return [
        ("ec2", "delete_volume", {"VolumeId": volume["VolumeId"]}),
        ("ec2", "terminate_instances", {"InstanceIds": [started["Instances"][0]["InstanceId"]]}),
        ("efs", "delete_file_system", {"FileSystemId": files["FileSystemId"]}),
        ("kms", "schedule_key_deletion", {"KeyId": key["KeyMetadata"]["KeyId"]}),
        ("elbv2", "delete_load_balancer", {"LoadBalancerArn": balancer["LoadBalancers"][0]["LoadBalancerArn"]}),
        ("elbv2", "delete_target_group", {"TargetGroupArn": group["TargetGroups"][0]["TargetGroupArn"]}),
    ]


def test_what_holds_data_ends_only_with_our_mark(aws):
    for service, operation, params in ended(aws, "theirs"):
        assert not ask(aws, service, operation, **params), operation
    for service, operation, params in ended(aws, "llm-demo"):
        assert ask(aws, service, operation, **params), operation
        if operation == "terminate_instances":
            both = [*params["InstanceIds"], ended(aws, "another")[1][2]["InstanceIds"][0]]
            assert not ask(aws, service, operation, InstanceIds=both), "each of them is looked at"


def test_repositories_of_others_stay_as_they_are(aws):
    assert ask(aws, "ecr", "create_repository", repositoryName="llm.on_eks/gateway")
    assert not ask(aws, "ecr", "create_repository", repositoryName="theirs/gateway")


def example(kind, name):
    """An ARN of a type of resource, with this name."""
    form = DATA["types"][kind]
    known = {"Partition": "aws", "Region": REGION, "Account": "123456789012"}
    return re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], name), form)


NAMES = (
    *("llm-demo", "llm.on_eks/gateway", "/aws/eks/llm-demo/cluster", "oidc.eks.us-west-2.amazonaws.com/id/x"),
    "aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
)


def test_each_action_is_bound_to_what_aws_lets_it_be_bound_to():
    """A statement with resources that an action does not take allows that action nothing."""
    for statement in PUBLISHED:
        for action in [] if statement["Resource"] == "*" or statement["Effect"] == "Deny" else statement["Action"]:
            service, types = action.partition(":")[0], DATA["actions"][action]
            fits = {
                kind: any(like(example(f"{service}:{kind.rstrip('*')}", name), one) for name in NAMES for one in bound)
                for kind in types
                for bound in [statement["Resource"]]
            }
            needed = [kind for kind in types if kind.endswith("*")] or [max(fits, key=fits.get, default="")]
            assert types and all(fits[kind] for kind in needed), f"{action}: {fits}"
            if "aws:ResourceTag" in str(statement.get("Condition")):
                assert {f"{service}:{kind.rstrip('*')}" for kind in needed} <= set(DATA["tagged"]), action


def test_what_stands_on_everything_is_a_read_or_has_no_name_that_is_known():
    for statement in PUBLISHED:
        for action in statement["Action"] if statement["Resource"] == "*" else []:
            service, __, verb = action.partition(":")
            free = (
                not DATA["actions"][action]
                or verb.startswith(("Describe", "List", "Get"))
                or service in UNNAMED
                or action in ON_EVERYTHING
            )
            assert free and not is_bound(action), action


def test_the_data_has_each_published_action():
    assert {action for one in PUBLISHED if one["Effect"] == "Allow" for action in one["Action"]} == set(DATA["actions"])
