# SPDX-License-Identifier: Apache-2.0
"""The end of a platform: all that carries our mark goes, in whatever state it is, and nothing else does."""

from __future__ import annotations

import base64
import contextlib
import random
import threading

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.ec2 import base as ec2
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from tests.support.aws_inventory import differences, inventory, only
from tests.support.aws_process import Cut, Runs
from tests.support.aws_strangers import flavours, pairs, plant_names, plant_network
from tests.support.emulated_aws import REGION
from tests.support.emulated_cluster import did, gone

pytestmark = pytest.mark.apiserver


@pytest.fixture
def impatient(monkeypatch):
    """Waits for what AWS's services leave behind are short."""
    monkeypatch.setattr(ec2, "_LEAVING_S", 6)
    monkeypatch.setattr(ec2, "_SETTLING_S", 1)


def ours(account) -> list[str]:
    """What a census still finds."""
    found = census(account.access().connection, account.name)
    assert not found.unseen
    return [f"{item.kind} {item.name or item.id}" for item in found.items]


def report(what: str, *, leaks: list[str], foreign: list[str], planted: int = 0) -> None:
    print(f"\n{what}: {planted} planted, {len(leaks)} leaks, {len(foreign)} foreign things changed or deleted")
    assert (leaks, foreign) == ([], [])


def vpc_and_subnets(account) -> tuple[str, list[str]]:
    client = account.aws.client("ec2")
    where = [{"Name": "tag:llm.on_eks/cluster", "Values": [account.name]}]
    (vpc,) = client.describe_vpcs(Filters=where)["Vpcs"]
    return vpc["VpcId"], [row["SubnetId"] for row in client.describe_subnets(Filters=where)["Subnets"]]


def test_look_alikes_beside_the_whole_platform_survive_and_the_list_is_what_happens(account, shapes):
    planted = 0
    for number, tags in enumerate(flavours(account.name).values()):
        planted += plant_network(account.aws, shapes["plain"], account.name, tags)
        planted += plant_names(account.aws, shapes["plain"], tags, f"-{number}")
    before = inventory(account.aws)
    account.converge(shapes["plain"])
    doomed = gone(shapes["plain"])
    listed = did(account.converge(doomed, check=True))
    assert len(listed) > 50
    assert listed == did(account.converge(doomed)), "the list is not what happened"
    report("look-alikes", leaks=ours(account), foreign=differences(before, inventory(account.aws)), planted=planted)
    assert did(account.converge(doomed)) == []


@pytest.mark.full
@pytest.mark.parametrize("flavour", flavours(""))
def test_look_alikes_in_the_place_of_ours_survive(account, shapes, flavour):
    planted = plant_names(account.aws, shapes["plain"], flavours(account.name)[flavour])
    planted += plant_network(account.aws, shapes["plain"], account.name, flavours(account.name)[flavour])
    before = inventory(account.aws)
    # Half of the platform: whatever does not find its name taken.
    errors = account.try_converge(shapes["plain"]).errors
    assert errors and all("not marked as ours" in error or "is marked for" in error for error in errors), errors
    account.converge(gone(shapes["plain"]))
    report(flavour, leaks=ours(account), foreign=differences(before, inventory(account.aws)), planted=planted)


@pytest.mark.full
def test_strangers_in_our_vpc_keep_it_and_are_named(account, shapes, impatient):
    account.converge(shapes["plain"])
    client, (vpc, subnets) = account.aws.client("ec2"), vpc_and_subnets(account)
    group = client.create_security_group(GroupName="theirs", Description="x", VpcId=vpc)["GroupId"]
    interface = client.create_network_interface(SubnetId=subnets[0], Groups=[group], Description="theirs")
    interface = interface["NetworkInterface"]["NetworkInterfaceId"]
    machine = {"ImageId": "ami-760aaa0f", "MinCount": 1, "MaxCount": 1}
    machine = client.run_instances(**machine, SubnetId=subnets[1])["Instances"][0]["InstanceId"]
    theirs = only(inventory(account.aws), lambda kind, row: group in str(row) or machine in str(row))
    result = account.try_converge(gone(shapes["plain"]))
    said = "\n".join(result.errors)
    assert "none of it is ours to delete" in said and interface in said
    # Both subnets and the VPC stay; all else is gone.
    left = ours(account)
    assert len([one for one in left if one.startswith("ec2_subnet")]) == 2, left
    assert {one.split()[0] for one in left} == {"ec2_subnet", "ec2_vpc"}, left
    after = inventory(account.aws)
    foreign = differences(theirs, {key: after[key] for key in theirs if key in after})
    client.terminate_instances(InstanceIds=[machine])
    where = [{"Name": "vpc-id", "Values": [vpc]}]
    for row in client.describe_network_interfaces(Filters=where)["NetworkInterfaces"]:
        client.delete_network_interface(NetworkInterfaceId=row["NetworkInterfaceId"])
    client.delete_security_group(GroupId=group)
    account.converge(gone(shapes["plain"]))
    report("strangers in the VPC", leaks=ours(account), foreign=foreign, planted=len(theirs))


@pytest.mark.full
def test_what_controllers_left_goes_though_it_is_protected_slow_or_in_use(account, shapes, impatient):
    account.converge(shapes["plain"])
    client, elb, (vpc, subnets) = account.aws.client("ec2"), account.aws.client("elbv2"), vpc_and_subnets(account)
    for name, marks in (
        ("ours", {"llm.on_eks/cluster": account.name}),
        ("theirs", flavours(account.name)["customary"]),
    ):
        made = elb.create_load_balancer(Name=name, Subnets=subnets[:2], Type="network", Tags=pairs(marks))
        arn = made["LoadBalancers"][0]["LoadBalancerArn"]
        protected = [{"Key": "deletion_protection.enabled", "Value": "true"}]
        elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=protected)
        elb.create_target_group(Name=name, Protocol="TCP", Port=80, VpcId=vpc, Tags=pairs(marks))
        volume = {"AvailabilityZone": f"{REGION}a", "Size": 1}
        client.create_volume(**volume, TagSpecifications=[{"ResourceType": "volume", "Tags": pairs(marks)}])
    before = only(inventory(account.aws), lambda kind, row: f"kubernetes.io/cluster/{account.name}" in str(row))
    theirs = {key: row for key, row in before.items() if key[0] in ("load balancer", "target group", "volume")}
    # AWS takes minutes for a load balancer's interfaces, and says of a group meanwhile that it is in use.
    interface = client.create_network_interface(SubnetId=subnets[0], Description="ELB net/ours/1")["NetworkInterface"]
    account.aws.admin(
        "POST",
        "faults",
        {"service": "elbv2", "operation": "DeleteTargetGroup", "kind": "error", "code": "ResourceInUse", "count": 2},
    )
    later = threading.Timer(
        6, client.delete_network_interface, kwargs={"NetworkInterfaceId": interface["NetworkInterfaceId"]}
    )
    later.start()
    try:
        stopped = account.try_converge(gone(shapes["plain"]))
    finally:
        later.join()
    after = inventory(account.aws)
    foreign = differences(theirs, {key: after[key] for key in theirs if key in after})
    # Their load balancer keeps its subnets; when it is gone, so is the rest.
    assert any("it still holds" in error and "/theirs/" in error for error in stopped.errors), stopped.errors
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{**protected[0], "Value": "false"}])
    elb.delete_load_balancer(LoadBalancerArn=arn)
    account.converge(gone(shapes["plain"]))
    report("controllers' things", leaks=ours(account), foreign=foreign, planted=len(theirs))


@pytest.mark.full
def test_interfaces_that_the_last_nodes_leave_go_before_their_network(account, shapes, impatient):
    account.converge(shapes["plain"])
    account.aws.admin("PUT", "leaking", {"interfaces": True})
    removed = did(account.converge(gone(shapes["plain"])))
    left = [one for one in removed if "ec2_network_interface" in str(one)]
    assert left, "no node left an interface"
    report("interfaces of nodes", leaks=ours(account), foreign=[], planted=len(left))


@pytest.mark.full
def test_a_load_balancer_that_stays_is_named_and_the_next_run_goes_on(account, shapes):
    account.converge(shapes["plain"])
    __, subnets = vpc_and_subnets(account)
    elb = account.aws.client("elbv2")
    elb.create_load_balancer(
        Name="stuck", Subnets=subnets[:2], Type="network", Tags=pairs({"llm.on_eks/cluster": account.name})
    )
    refusal = {"kind": "error", "code": "OperationNotPermitted", "message": "it is protected by a service"}
    account.aws.admin("POST", "faults", {"service": "elbv2", "operation": "DeleteLoadBalancer", **refusal})
    (error,) = account.try_converge(gone(shapes["plain"])).errors
    assert "stuck" in error and "it is protected by a service" in error
    assert account.aws.client("eks").list_clusters()["clusters"] == [account.name], "what it stands on went before it"
    account.aws.reset()
    account.converge(gone(shapes["plain"]))
    report("a stuck load balancer", leaks=ours(account), foreign=[])


@pytest.mark.full
@pytest.mark.parametrize("items", [1, 2])
def test_throttling_of_every_call_and_short_pages_change_nothing_of_it(account, shapes, items):
    before = inventory(account.aws)
    account.aws.admin("PUT", "page-size", {"items": items})
    account.aws.admin("POST", "faults", {"each": True})
    account.converge(shapes["plain"])
    assert did(account.converge(shapes["plain"])) == []
    account.aws.admin("DELETE", "faults")
    account.aws.admin("POST", "faults", {"each": True})
    account.aws.admin("POST", "faults", {"kind": "transient", "share": 0.05, "seed": items})
    account.converge(gone(shapes["plain"]))
    account.aws.reset()
    report(f"throttled, pages of {items}", leaks=ours(account), foreign=differences(before, inventory(account.aws)))


@pytest.mark.full
def test_the_file_system_stays_unless_asked_and_its_mount_targets_go(account, shapes):
    account.converge(shapes["kept"])
    doomed = gone(shapes["kept"])
    listed = account.converge(doomed, check=True)
    done = account.converge(doomed)
    assert did(listed) == did(done)
    assert any("is kept" in note for note in done.components["storage_efs"].notes)
    found = census(account.access().connection, account.name)
    assert [item.kind for item in found.items] == ["efs_access_point", "efs_file_system"]
    assert not found.unpriced and "USD" in "\n".join(found.table())
    assert did(account.converge(doomed)) == []
    # The next platform takes it over; asked for, it goes.
    account.converge(shapes["plain"])
    assert len(account.aws.client("efs").describe_file_systems()["FileSystems"]) == 1
    account.converge(gone(shapes["plain"]))
    report("a kept file system", leaks=ours(account), foreign=[])


POINTS = [number if number < 1 else pytest.param(number, marks=pytest.mark.full) for number in range(16)]


@pytest.mark.parametrize("point", POINTS)
def test_a_half_built_platform_goes_whole(account, shapes, point):
    before = inventory(account.aws)
    rng = random.Random(point)
    cut = Cut(rng.randint(2, 85), after=rng.random() < 0.5)
    Runs(account.aws.url, account.name).run(shapes["plain"], cut)
    doomed = gone(shapes["plain"])
    listed = did(account.converge(doomed, check=True))
    done = did(account.converge(doomed))
    print(f"\n{cut}: {len(done)} removed")
    assert listed == done
    report(f"half-built, {cut}", leaks=ours(account), foreign=differences(before, inventory(account.aws)))


@contextlib.contextmanager
def unreachable(account):
    found = account.aws.client("eks").describe_cluster(name=account.name)["cluster"]
    authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
    account.aws.admin("PUT", f"endpoints/{account.name}", {"endpoint": "https://127.0.0.1:1", "ca": authority})
    try:
        yield
    finally:
        account.aws.admin("PUT", f"endpoints/{account.name}", {"endpoint": found["endpoint"], "ca": authority})


@pytest.mark.full
def test_a_dead_cluster_goes_with_all_that_belongs_to_it(account, shapes):
    before = inventory(account.aws)
    account.converge(shapes["plain"])
    with unreachable(account):
        account.converge(gone(shapes["plain"]))
    report("a dead cluster", leaks=ours(account), foreign=differences(before, inventory(account.aws)))


@pytest.mark.parametrize("shape", ["seed", pytest.param("plain", marks=pytest.mark.full)])
def test_what_belonged_to_a_cluster_that_somebody_deleted_goes_too(account, shapes, shape):
    before = inventory(account.aws)
    account.converge(shapes[shape])
    eks = account.aws.client("eks")
    eks.update_cluster_config(name=account.name, deletionProtection=False)
    for group in eks.list_nodegroups(clusterName=account.name)["nodegroups"]:
        eks.delete_nodegroup(clusterName=account.name, nodegroupName=group)
    while eks.list_nodegroups(clusterName=account.name)["nodegroups"]:
        threading.Event().wait(0.1)
    eks.delete_cluster(name=account.name)
    account.converge(gone(shapes[shape]))
    report(f"a deleted cluster, {shape}", leaks=ours(account), foreign=differences(before, inventory(account.aws)))
