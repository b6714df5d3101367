# SPDX-License-Identifier: Apache-2.0
"""Every shipped inventory and every switch of the AWS roles: made, kept, changed, mended and removed with the published permissions alone.

At the end each published action was needed by somebody, or stands in UNSEEN with the reason.
"""

from __future__ import annotations

import json
import threading

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.tagging import tag_list
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.unknown import Unknown
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey import leftovers, lookups
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.observed import price_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks import bucket_lock
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.gather import gather
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.aws.wanted import wanted
from tests.support.aws_walk import Walk, deployer
from tests.support.aws_week import ADMINS, DAYS, described
from tests.support.described import REPO, describe, describe_inventory, describe_roles
from tests.support.emulated_aws import REGION, EmulatedAws, make_role, make_subnets
from tests.unit.aws.kinds import OWNER, Ground, allow, build, connect, live, sample
from tests.unit.test_aws_roles import EVERYTHING, HOSTS
from tests.unit.test_inventories import ANSWERS, ENVIRONMENTS, GATHER
from tools.aws_permissions import allowed

pytestmark = pytest.mark.full
PERMISSIONS = REPO / "docs" / "aws_permissions.json"
# In place of what only the account knows: a network, its subnets, a cluster.
GIVEN = {key: HOSTS["given"][key] for key in HOSTS["given"] if key.startswith("network_")}
SWITCHES = {
    "everything": {**EVERYTHING, "network_flow_logs": "ALL", "storage_efs_iam": True},
    "seed": HOSTS["seed"],
    "isolated": HOSTS["isolated"],
    # People and keys there are of its own partition.
    "china": json.loads(
        json.dumps({**HOSTS["china"], "network_flow_logs": "REJECT"}).replace("arn:aws:", "arn:aws-cn:")
    ),
    "given": {**EVERYTHING, **GIVEN},
    "adopted": HOSTS["given"],
}
CHINA = "cn-north-1"
PEOPLE = ("platform", "admins", "v", "o", ADMINS)
# Action -> why no run on the emulator needs it.
UNSEEN: dict[str, str] = {}


@pytest.fixture(scope="module")
def needed():
    """Name of a test -> the actions that deployers needed in it."""
    return {}


@pytest.fixture
def aws(request, needed):
    """A new account, where a deployer may change what is named as ours, and which notes what deployers need."""
    yield from account(request, needed, "--deployer-names", "llm-")


@pytest.fixture
def free(request, needed):
    """The same, where names do not matter."""
    yield from account(request, needed)


def account(request, needed, *arguments):
    with EmulatedAws(*arguments) as made:
        for region in (REGION, CHINA):
            for name in PEOPLE:
                make_role(made, name, region=region)
        yield made
        needed[request.node.name] = set(made.admin("GET", "used")["actions"])


def components_of(case):
    """(name of the cluster, what is described)."""
    if case in ENVIRONMENTS:
        given = {**ANSWERS, "platform_look_only": True, "platform_preflight_aws": False}
        found = describe_inventory(REPO / "inventories" / case, "eks_clusters", GATHER, given)
        return f"llm-{case}", found[f"llm-{case}"]
    # Nothing is kept, and people and keys are those of this account.
    name = f"llm-{case}"
    given = {"platform_cluster_name": name, "platform_protected": False, "storage_efs_retain": False}
    return name, describe({name: {**given, **SWITCHES[case]}})[name]


def provide(aws, case, components):
    """The components, with what somebody else has made in the account for them."""
    text = json.dumps(components)
    if "network_vpc_id" in SWITCHES.get(case, {}):
        vpc, subnets = make_subnets(aws, zones="abb")
        for name, made in zip(("vpc-1", "subnet-1", "subnet-2", "subnet-3"), (vpc, *subnets), strict=True):
            text = text.replace(f'"{name}"', f'"{made}"')
        if case == "adopted":
            role = make_role(aws, "theirs")
            aws.client("eks").create_cluster(
                name=f"llm-{case}", roleArn=role, resourcesVpcConfig={"subnetIds": subnets[:2]}
            )
    return json.loads(text)


def tamper(aws, cluster, region, *, adopted):
    """Another hand: a policy is detached from the nodes' role, and logs are kept for a day."""
    iam, logs = (aws.client(name, region=region) for name in ("iam", "logs"))
    policy = iam.list_attached_role_policies(RoleName=f"{cluster}-node")["AttachedPolicies"][0]["PolicyArn"]
    iam.detach_role_policy(RoleName=f"{cluster}-node", PolicyArn=policy)
    if not adopted:
        logs.put_retention_policy(logGroupName=f"/aws/eks/{cluster}/cluster", retentionInDays=1)


@pytest.mark.parametrize("case", [*ENVIRONMENTS, *SWITCHES])
def test_it_is_made_mended_and_removed(aws, case):
    cluster, components = components_of(case)
    components = provide(aws, case, components)
    region = CHINA if case == "china" else REGION
    Walk.of(deployer(aws, region), cluster, components).apply()
    assert Walk.of(deployer(aws, region), cluster, components).apply() == []
    tamper(aws, cluster, region, adopted=case == "adopted")
    walk = Walk.of(deployer(aws, region), cluster, components)
    assert walk.apply(), "what another hand did is taken back"
    assert Walk.of(deployer(aws, region), cluster, components).apply() == []
    list(walk.remove())
    assert census(deployer(aws, region), cluster).items == ()


def test_every_default_is_changed(aws):
    before = None
    days = described("llm-changed")
    for name in DAYS:
        walk = Walk.of(deployer(aws, REGION), "llm-changed", days[name])
        assert walk.apply()
        if before:
            walk.prune(before)
        before = walk
    list(before.remove())
    assert census(deployer(aws, REGION), "llm-changed").items == ()


def test_each_kind_is_made_changed_tagged_untagged_and_removed(free):
    ground = Ground.make(free)
    for kind in sorted(RESOURCES):
        live(kind, free, sample(kind, ground, free))


def test_what_all_clusters_of_an_account_share_is_made(aws):
    given = {"platform_provider": "eks", "platform_aws_region": REGION, "platform_state_bucket": "records"}
    given |= {"platform_cluster_name": "account", "registry_images_file": ""}
    components = describe_roles({"account": ("registry", given)})["account"]
    walk = Walk.of(deployer(aws, REGION), "account", components)
    assert walk.apply()
    with bucket_lock.held(deployer(aws, REGION), "records", "demo", wait_s=1, stop=threading.Event()):
        pass
    deployer(aws, REGION).client("ecr").get_authorization_token()


def test_preflight_asks_and_the_lock_file_is_written(aws):
    values = {"platform_cluster_name": "asked", "platform_aws_region": REGION, "platform_state_bucket": "records"}
    values |= {"node_groups_system": {"instance_types": ["m6i.large"]}, "cluster_encryption_key": "own"}
    values |= {"identity_drivers": [{"name": "efs_csi"}], "karpenter_aws_state": "present", "network_vpc_id": "vpc-1"}
    assert gather(deployer(aws, REGION), wanted(values), PERMISSIONS).refused == {}
    connection = deployer(aws, REGION)
    lookups.cluster_versions(connection)
    lookups.quota(connection, "ec2", "L-DB2E81BA")
    lookups.quota(connection, "ec2", "L-417A185B")
    lookups.offerings(connection, ["g5.xlarge"])
    price_of(connection, "g5.xlarge")
    build("iam_oidc_provider", aws, {"issuer": Unknown()}).plan_delete()


def test_what_controllers_left_behind_is_removed(free):
    ec2, elb = free.client("ec2"), free.client("elbv2")
    vpc, subnets = make_subnets(free)
    tags = tag_list(OWNER.tags)

    def marked(kind):
        return [{"ResourceType": kind, "Tags": tags}]

    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=marked("volume"))["VolumeId"]
    ec2.create_snapshot(VolumeId=volume, TagSpecifications=marked("snapshot"))
    ec2.create_network_interface(SubnetId=subnets[0], TagSpecifications=marked("network-interface"))
    ec2.run_instances(ImageId="ami-760aaa0f", MinCount=1, MaxCount=1, TagSpecifications=marked("instance"))
    data = {"InstanceType": "m6i.large"}
    ec2.create_launch_template(
        LaunchTemplateName="x", LaunchTemplateData=data, TagSpecifications=marked("launch-template")
    )
    ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc, TagSpecifications=marked("security-group"))
    elb.create_load_balancer(Name="x", Subnets=subnets, Type="network", Tags=tags)
    elb.create_target_group(Name="x", Protocol="TCP", Port=80, VpcId=vpc, Tags=tags)
    found = leftovers.left_behind(connect(free), OWNER.cluster)
    assert {item.kind for item in found} == {*leftovers.KINDS, leftovers.GROUP}
    for item in found:
        leftovers.remove(connect(free), OWNER.cluster, item)
    assert leftovers.left_behind(connect(free), OWNER.cluster) == []
    free.client("iam").create_policy(PolicyName="theirs", PolicyDocument=json.dumps(allow("s3:GetObject")))
    free.client("iam").create_open_id_connect_provider(Url="https://theirs.example", ThumbprintList=[])
    assert [item.kind for item in census(connect(free), OWNER.cluster).items] == ["ec2_snapshot"]


def test_what_only_the_modules_offer_is_allowed_as_well(free):
    """A bucket goes with its objects' old versions, a repository keeps all images and scans none, a role gets a boundary."""
    bucket = {"name": "emptied", "force_destroy": True}
    build("s3_bucket", free, bucket).apply()
    for text in (b"1", b"2"):
        free.client("s3").put_object(Bucket="emptied", Key="x", Body=text)
    assert build("s3_bucket", free, bucket).delete().verb == "delete"
    build("ecr_repository", free, {"name": "kept", "keep_images": 3}).apply()
    changed = {"name": "kept", "keep_images": 0, "scan_on_push": False}
    assert build("ecr_repository", free, changed).apply().verb == "update"
    role = {"name": "bound", "services": ["ec2.amazonaws.com"]}
    build("iam_role", free, role).apply()
    boundary = free.client("iam").create_policy(PolicyName="most", PolicyDocument=json.dumps(allow("s3:GetObject")))
    bound = {**role, "permissions_boundary": boundary["Policy"]["Arn"]}
    assert build("iam_role", free, bound).apply().verb == "update"


def test_each_published_action_is_needed_or_has_a_reason(request, needed):
    others = [item for item in request.session.items if item.module is request.module and item is not request.node]
    if len(needed) < len([*ENVIRONMENTS, *SWITCHES]) + 6 or len(others) < len(needed):
        pytest.skip("only after all the others")
    published = set(allowed(json.loads(PERMISSIONS.read_text())))
    unseen = sorted(published - set().union(*needed.values()))
    assert unseen == sorted(UNSEEN), "\n".join(unseen)
