# SPDX-License-Identifier: Apache-2.0
"""playbooks/preflight.yml on an emulated account: every planted cause is found with its mend, and nothing is changed."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.gather import gather
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.review import review
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from tests.support.described import describe
from tests.support.emulated_aws import REGION, REPO, EmulatedAws, make_role
from tests.unit.aws.kinds import connect

POLICY = REPO / "docs" / "aws_permissions.json"
# The same for clusters with names like ours here.
OURS = POLICY.read_text().replace("llm-*", "demo*")
GOOD = {
    "platform_cluster_name": "demo",
    "platform_provider": "eks",
    "platform_aws_region": REGION,
    "platform_aws_profile": "",
    "platform_protected": False,
    # As playbooks/lock.yml wrote it today.
    "platform_reference": {"as_of": datetime.date.today().isoformat(), "prices": {"m7i.large": 0.1008}},
    "network_cidr": "10.20.0.0/16",
    "network_zones": ["a", "b", "c"],
    "cluster_version": "1.36",
    "cluster_public_access_cidrs": ["203.0.113.7/32"],
    "node_groups_system": {"instance_types": ["m7i.large", "m6i.large"], "min_size": 2, "max_size": 4},
    "model_catalog": [
        {
            "name": "llama-3.1-8b",
            "source": "s3://models/llama-3.1-8b",
            "revision": "sha256:" + "5" * 64,
            "engine": "vllm",
            "accelerators": ["inf2.xlarge"],
            "replicas": {"min": 1, "max": 2},
            "context": 8192,
        }
    ],
}


def pinned(name, source, revision):
    return {"name": name, "source": source, "revision": revision, "engine": "vllm"}


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with EmulatedAws("--state", str(tmp_path_factory.mktemp("aws"))) as emulated:
        yield emulated


@pytest.fixture
def aws(account):
    account.reset()
    yield account
    account.reset()
    for code in ("L-1216C47A", "L-DB2E81BA", "L-1945791B"):
        account.admin("PUT", f"quotas/{REGION}/{code}", {"value": 64})


@pytest.fixture
def preflight(aws, tmp_path):
    """Run the playbook with inventory variables; its code and what it said."""

    def run(variables, *arguments):
        inventory = tmp_path / "inventory"
        (inventory / "group_vars").mkdir(parents=True, exist_ok=True)
        hosts = {"eks_clusters": {"hosts": {"demo": {"ansible_connection": "local"}}}}
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
        # The models' bucket is nobody's; tests of model_sync ask sources.
        values = {"platform_aws_endpoint_url": aws.url, "models_check_sources": False, **variables}
        values["ansible_python_interpreter"] = sys.executable
        (inventory / "group_vars" / "eks_clusters.yml").write_text(yaml.safe_dump(values, sort_keys=False))
        environment = {key: value for key, value in aws.environment().items() if key != "AWS_ENDPOINT_URL"}
        environment |= {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "4000"}
        environment |= {"HF_HOME": str(tmp_path), "HF_TOKEN": ""}
        command = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(inventory), "-v"]
        done = subprocess.run(
            [*command, str(REPO / "playbooks" / "preflight.yml"), *arguments],
            cwd=REPO, env=environment, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def changing_calls(aws):
    """Calls that are no reads."""
    reads = ("Describe", "List", "Get", "Head", "Simulate")
    return {call for call in aws.admin("GET", "calls") if not call.split(":")[1].startswith(reads)}


def test_an_account_with_room_passes_says_what_it_costs_and_is_left_as_it_is(aws, preflight):
    aws.admin("DELETE", "calls")
    code, said = preflight(GOOD)
    assert code == 0, said
    assert "AWS account 123456789012, us-west-2, as arn:aws:iam::123456789012:user/llm-on-eks" in said
    assert "model llama-3.1-8b → inf2.xlarge, 0.76 USD/h each" in said
    assert "weights 14.9 GiB + KV cache 1.0 GiB" in said
    assert "price 1.11 USD an hour" in said
    assert changing_calls(aws) == set()


def test_check_mode_is_the_same_and_warnings_stop_no_run(aws, preflight):
    aws.admin("PUT", f"quotas/{REGION}/L-1945791B", {"value": 6})
    code, said = preflight(GOOD, "--check")
    assert code == 0 and "model llama-3.1-8b → inf2.xlarge" in said
    assert "warning  quotas " in said and "the quota of inf instances" in said


def test_warnings_stop_a_strict_run(aws, preflight):
    aws.admin("PUT", f"quotas/{REGION}/L-1945791B", {"value": 6})
    code, said = preflight(GOOD, "-e", "preflight_strict=true")
    assert code == 2 and "1 finding must be mended" in said


def test_wrong_inputs_are_said_without_asking_aws(aws, preflight):
    aws.admin("DELETE", "calls")
    code, said = preflight({**GOOD, "cluster_verson": "1.35"})
    assert code == 2 and "cluster_verson is not a variable of this collection; did you mean cluster_version" in said
    assert aws.admin("GET", "calls") == {}


def test_keys_that_nobody_knows_are_one_finding(aws, preflight):
    aws.admin("POST", "faults", {"service": "sts", "kind": "error", "code": "InvalidClientTokenId", "status": 403})
    code, said = preflight(GOOD)
    assert code == 2 and "AWS credentials were not accepted" in said
    assert "the access key is not known: check AWS_PROFILE" in said and "Traceback" not in said


def test_all_planted_causes_are_found_at_once(aws, preflight):
    """One of each: the run fails once, and names them all."""
    ec2, eks = aws.client("ec2"), aws.client("eks")
    vpc = ec2.create_vpc(CidrBlock="10.50.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.50.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]  # fmt: skip
    eks.create_cluster(name="taken", roleArn=make_role(aws, "taken-cluster"), resourcesVpcConfig={"subnetIds": subnets})
    aws.client("efs").create_file_system(CreationToken="taken")
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "taken"}])
    aws.admin("PUT", f"quotas/{REGION}/L-1216C47A", {"value": 3})
    aws.admin("PUT", f"quotas/{REGION}/L-1945791B", {"value": 6})
    aws.admin("PUT", f"quotas/{REGION}/L-417A185B", {"value": 192})
    catalog = [
        GOOD["model_catalog"][0],
        # Not in our table: only the account can tell its size.
        {**pinned("llama-3.1-405b", "hf://a/b", "5" * 40), "accelerators": ["p3dn.24xlarge"]},
        {**pinned("mystery", "s3://models/b", "sha256:" + "5" * 64), "accelerators": ["g6.xlarge", "g99.huge"]},
    ]
    code, said = preflight(
        {
            **GOOD,
            "platform_cluster_name": "taken",
            "platform_state_bucket": "nobody-has-this-one",
            "network_zones": ["a", "b", "x"],
            "cluster_service_cidr": "10.20.128.0/20",
            "cluster_version": "1.29",
            "model_catalog": catalog,
        }
    )
    assert code == 2
    for words in (
        "cluster_version 1.29 is not offered by EKS here",
        "names the EKS cluster taken, which exists without our mark",
        "names the IAM role taken-cluster, which exists without our mark",
        "names the EFS file system taken, which exists without our mark",
        "(10.50.0.0/16) is called so too, without our mark",
        "platform_state_bucket is nobody-has-this-one, which does not exist yet",
        "network_cidr (10.20.0.0/16) overlaps cluster_service_cidr (10.20.128.0/20)",
        "network_zones names us-west-2x, which us-west-2 does not show this account",
        "model_catalog[llama-3.1-405b].accelerators fits on no instance type: p3dn.24xlarge: too small: weights 75",
        "model_catalog[mystery] has an unknown size",
        "the quota of standard instances, on-demand, is 3 vCPUs, and 4 are needed at the start",
        "the quota of inf instances, on-demand, is 6 vCPUs, and 8 are needed when all are at their largest",
        "HF_TOKEN is not set, and llama-3.1-405b comes from Hugging Face",
    ):
        assert words in said, f"{words}\n{said}"
    assert "8 findings must be mended; nothing was changed." in said


def test_a_given_network_is_looked_at(aws, preflight):
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
    small = ec2.create_subnet(VpcId=vpc, CidrBlock="10.60.1.0/28", AvailabilityZone=f"{REGION}a")["Subnet"]["SubnetId"]
    given = {"network_vpc_id": vpc, "network_private_subnet_ids": [small, "subnet-0000"]}
    code, said = preflight({**GOOD, **given})
    assert code == 2
    assert f"network_private_subnet_ids names subnet-0000, which {vpc} does not have" in said
    assert "network_private_subnet_ids covers fewer than two zones (us-west-2a)" in said
    assert f"names {small} without the tag kubernetes.io/role/internal-elb" in said
    assert f"has {small} with 11 free addresses, and EKS recommends 16" in said


@pytest.fixture(scope="module")
def components():
    """What the roles describe: as it is good, for a version that is gone, and with all that the S3 driver and Karpenter need."""
    hosts = {
        "demo": GOOD,
        "gone": {**GOOD, "cluster_version": "1.29"},
        "more": {**GOOD, **MORE},
    }
    hosts = {name: {**given, "model_catalog": []} for name, given in hosts.items()}
    return describe(hosts)


MORE = {"storage_s3_state": "present", "karpenter_aws_state": "present", "karpenter_aws_instance_profile": True}


def looked_at(aws, described, keys=None):
    """What the review finds, as text."""
    asked = wanted(GOOD, described)
    return [f"{each.severity}: {each}" for each in review(gather(connect(aws, keys), asked, POLICY), asked).all]


def test_permissions_that_a_caller_lacks_are_named(aws, components):
    policy = json.loads(OURS)
    policy["Statement"] = [row for row in policy["Statement"] if row["Sid"] not in ("EksWrite", "SqsWrite")]
    own = {"Effect": "Allow", "Action": "sqs:*", "Resource": f"arn:aws:sqs:{REGION}:123456789012:demo"}
    policy["Statement"].append(own)
    (text,) = looked_at(aws, components["demo"], user_with(aws, "limited", policy))
    assert text.startswith("error: arn:aws:iam::123456789012:user/limited may not do")
    assert "(no policy allows it): eks: AssociateAccessPolicy, " in text
    assert "sqs:" not in text, "it may on the queue that would be made"


def test_a_policy_for_other_names_is_told(aws, components):
    (text,) = looked_at(aws, components["demo"], user_with(aws, "others", json.loads(POLICY.read_text())))
    assert "iam: AddRoleToInstanceProfile" in text and "ec2: DeleteVolume, TerminateInstances" in text
    assert text.endswith("attach the policy of docs/aws_permissions.json, for names that begin like demo.")


def test_a_policy_that_forbids_is_told_from_one_that_does_not_allow(aws, components):
    policy = json.loads(OURS)
    policy["Statement"].append({"Effect": "Deny", "Action": "eks:CreateCluster", "Resource": "*"})
    (text,) = looked_at(aws, components["demo"], user_with(aws, "forbidden", policy))
    assert "may not do 1 of what is needed (a policy denies it): eks: CreateCluster; have that lifted" in text


def test_a_role_is_simulated_by_its_session(aws, components):
    role = make_role(aws, "deployer")
    session = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="preflight")["Credentials"]
    keys = {
        "aws_access_key_id": session["AccessKeyId"],
        "aws_secret_access_key": session["SecretAccessKey"],
        "aws_session_token": session["SessionToken"],
    }
    aws.client("iam").put_role_policy(RoleName="deployer", PolicyName="all", PolicyDocument=OURS)
    assert looked_at(aws, components["demo"], keys) == []
    aws.client("iam").delete_role_policy(RoleName="deployer", PolicyName="all")
    assert any(
        ":assumed-role/deployer/preflight may not do" in text for text in looked_at(aws, components["demo"], keys)
    )


def test_what_refuses_to_be_looked_at_is_a_warning_and_the_rest_comes(aws, components):
    fault = {"kind": "error", "code": "AccessDenied", "status": 403}
    for service, operation in (
        ("iam", "SimulatePrincipalPolicy"),
        ("service-quotas", "*"),
        ("ec2", "DescribeInstances"),
    ):
        aws.admin("POST", "faults", {**fault, "service": service, "operation": operation})
    found = looked_at(aws, components["gone"])
    assert [text.split(" could not be checked")[0] for text in found] == [
        found[0],
        "warning: permissions",
        "warning: quota of inf instances, on-demand",
        "warning: quota of standard instances, on-demand",
        "warning: quotas of addresses and VPCs",
        "warning: vCPUs in use",
    ]
    assert found[0].startswith("error: cluster_version 1.29 is not offered")


def test_throttling_and_pages_of_one_change_nothing(aws, components):
    asked = wanted({**GOOD, "platform_state_bucket": "nobody-has-this-one"}, components["demo"])
    usual = gather(connect(aws), asked, POLICY)
    aws.admin("PUT", "page-size", {"items": 1})
    aws.admin("POST", "faults", {"each": True})
    assert gather(connect(aws), asked, POLICY) == usual
    assert usual.refused == {}


def test_what_runs_already_counts_against_the_quota_but_not_what_is_ours(aws):
    ec2 = aws.client("ec2")
    mark = [{"ResourceType": "instance", "Tags": [{"Key": "llm.on_eks/cluster", "Value": "demo"}]}]
    for specs in ([], mark):
        ec2.run_instances(
            ImageId="ami-760aaa0f", MinCount=1, MaxCount=1, InstanceType="m6i.xlarge", TagSpecifications=specs
        )
    assert gather(connect(aws), wanted(GOOD), POLICY).in_use == {("standard", "on-demand"): 4}


def test_the_look_at_an_account_is_short(aws, components):
    """Not a timed assertion of speed: a bound on what is asked, so that nobody makes it serial or chatty unnoticed."""
    gather(connect(aws), wanted(GOOD, components["demo"]), POLICY)
    aws.admin("DELETE", "calls")
    started = time.monotonic()
    gather(connect(aws), wanted(GOOD, components["demo"]), POLICY)
    print(f"preflight of AWS: {time.monotonic() - started:.2f} s, {sum(aws.admin('GET', 'calls').values())} calls")
    assert sum(aws.admin("GET", "calls").values()) <= 60


def user_with(aws, name, policy):
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    # IAM takes 2048 characters as a user's own policy, and 6144 as a managed one.
    rows = policy["Statement"]
    for number in range(0, len(rows), 9):
        document = json.dumps({**policy, "Statement": rows[number : number + 9]}, separators=(",", ":"))
        arn = iam.create_policy(PolicyName=f"{name}-{number}", PolicyDocument=document)["Policy"]["Arn"]
        iam.attach_user_policy(UserName=name, PolicyArn=arn)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def test_a_stranger_under_any_name_that_a_run_would_make_is_found(aws, components):
    """The list of names was once kept by hand: whoever had the S3 driver's role was only met in the middle of the run."""
    iam = aws.client("iam")
    make_role(aws, "demo-s3-csi")
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
    iam.create_policy(PolicyName="demo-karpenter-nodes", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName="demo-karpenter-node")
    rules = [
        row["properties"]["name"]
        for one in components["more"]
        for row in one.get("aws", [])
        if row["type"] == "events_rule"
    ]
    aws.client("events").put_rule(Name=rules[0], EventPattern='{"source": ["aws.ec2"]}')
    try:
        said = "\n".join(looked_at(aws, components["more"]))
        for words in (
            "the IAM role demo-s3-csi, which exists without our mark",
            "the IAM policy demo-karpenter-nodes, which exists without our mark",
            "the IAM instance profile demo-karpenter-node, which exists without our mark",
            f"the EventBridge rule {rules[0]}, which exists without our mark",
        ):
            assert words in said, said
    finally:
        iam.delete_role(RoleName="demo-s3-csi")
        iam.delete_policy(PolicyArn="arn:aws:iam::123456789012:policy/demo-karpenter-nodes")
        iam.delete_instance_profile(InstanceProfileName="demo-karpenter-node")
        aws.client("events").delete_rule(Name=rules[0])


def test_a_strangers_security_group_in_a_given_network_is_found(aws):
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName="demo-efs", Description="x", VpcId=vpc)
    given = {"type": "ec2_vpc", "name": "vpc", "adopt": True, "properties": {"name": "demo", "id": vpc}}
    group = {
        "type": "ec2_security_group",
        "name": "nfs",
        "properties": {"name": "demo-efs", "vpc_id": "${out:network.vpc_id}"},
    }
    found = looked_at(aws, [{"name": "network", "aws": [given]}, {"name": "storage_efs", "aws": [group]}])
    assert any("the security group demo-efs, which exists without our mark" in text for text in found), found
