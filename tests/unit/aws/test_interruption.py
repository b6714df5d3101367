# SPDX-License-Identifier: Apache-2.0
"""A run that is cut off at any call, or never hears the answer: nothing is made twice, and nothing is left over."""

from __future__ import annotations

import itertools
import random

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census

from .kinds import OWNER, Ground, build, connect, sample

KINDS = sorted(set(RESOURCES) - {"iam_service_linked_role"})
# Listings that would show a second one, and the member that holds them.
LISTINGS = {
    "ec2_internet_gateway": ("ec2", "describe_internet_gateways", "InternetGateways"),
    "ec2_nat_gateway": ("ec2", "describe_addresses", "Addresses"),
    "ec2_route_table": ("ec2", "describe_route_tables", "RouteTables"),
    "ec2_security_group": ("ec2", "describe_security_groups", "SecurityGroups"),
    "ec2_subnet": ("ec2", "describe_subnets", "Subnets"),
    "ec2_vpc": ("ec2", "describe_vpcs", "Vpcs"),
    "efs_access_point": ("efs", "describe_access_points", "AccessPoints"),
    "efs_file_system": ("efs", "describe_file_systems", "FileSystems"),
    "kms_key": ("kms", "list_keys", "Keys"),
}
# Calls of a whole run that set what AWS's default is already: DNS in a VPC.
NEEDLESS = {"ec2_vpc": 1}


class Cut(BaseException):
    """As a kill: nothing of ours catches it."""


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


def cut_after(resource, calls):
    """Have the process die right after the service has carried out its n-th changing call; None counts only."""
    done = []

    def count(model, **__):
        if not model.name.startswith(("Describe", "Get", "List", "Head")):
            done.append(model.name)
            if len(done) == calls:
                raise Cut

    client = resource.connection.client

    def counting(service):
        made = client(service)
        made.meta.events.register("after-call", count, unique_id="cut")
        return made

    resource.connection.client = counting
    return done


def number_of(aws, kind):
    service, operation, member = LISTINGS[kind]
    return len(getattr(aws.client(service), operation)()[member]) if kind in LISTINGS else 0


def cut_points(kind, aws, ground):
    whole = build(kind, aws, sample(kind, ground, aws).params)
    done = cut_after(whole, -1)
    whole.apply()
    whole.wait()
    return len(done)


def cut_and_complete(kind, aws, ground, point, points):
    """`points`: how many calls a whole run has. What the first run did not come to is done by the second, and not only left out of its plan."""
    example = sample(kind, ground, aws)
    before = number_of(aws, kind) if kind in LISTINGS else 0
    broken = build(kind, aws, example.params)
    done = cut_after(broken, point)
    with pytest.raises(Cut):
        broken.apply()
        broken.wait()
    again = build(kind, aws, example.params)
    rest = cut_after(again, -1)
    again.apply()
    again.wait()
    assert len(done) + len(rest) >= points - NEEDLESS.get(kind, 0), (done, rest)
    assert build(kind, aws, example.params).plan().verb == "none"
    if kind in LISTINGS:
        assert number_of(aws, kind) == before + 1, "made twice"
    build(kind, aws, example.params).delete()


@pytest.mark.parametrize("kind", KINDS[::2])
def test_a_run_that_was_cut_off_at_some_call_is_completed(aws, ground, kind):
    points = cut_points(kind, aws, ground)
    cut_and_complete(kind, aws, ground, random.Random(kind).randint(1, points), points)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_off_at_any_call_is_completed(aws, ground, kind):
    points = cut_points(kind, aws, ground)
    for point in range(1, points + 1):
        cut_and_complete(kind, aws, ground, point, points)


def lose(aws, **which):
    aws.reset()
    aws.admin("POST", "faults", {"kind": "lost", **which})


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_made_twice_where_the_first_answer_to_each_call_is_lost(aws, ground, kind):
    example = sample(kind, ground, aws)
    before = number_of(aws, kind) if kind in LISTINGS else 0
    lose(aws, each=True)
    assert build(kind, aws, example.params).apply().verb == "create"
    aws.reset()
    build(kind, aws, example.params).wait()
    assert build(kind, aws, example.params).plan().verb == "none"
    if kind in LISTINGS:
        assert number_of(aws, kind) == before + 1, "made twice"
    if example.changed:
        lose(aws, each=True)
        assert build(kind, aws, {**example.params, **example.changed}).apply().changes_anything
        aws.reset()
        build(kind, aws, {**example.params, **example.changed}).wait()
        assert build(kind, aws, {**example.params, **example.changed}).plan().verb == "none"
    lose(aws, each=True)
    assert build(kind, aws, example.params).delete().verb == "delete"
    aws.reset()
    assert build(kind, aws, example.params).plan_delete().verb == "none"


def seen_at_every_second_look(read):
    """EC2 is eventually consistent: what was just made is found by one call, and not by the next."""
    looks = itertools.count()

    def flickering():
        found = read()
        return found if next(looks) % 2 else None

    return flickering


@pytest.mark.parametrize("kind", [kind for kind in LISTINGS if kind.startswith("ec2_")])
def test_nothing_is_made_twice_that_is_seen_at_one_look_and_not_at_the_next(aws, ground, kind):
    example = sample(kind, ground, aws)
    before = number_of(aws, kind)
    lose(aws, each=True)
    resource = build(kind, aws, example.params)
    resource.read = seen_at_every_second_look(resource.read)
    assert resource.apply().verb == "create"
    aws.reset()
    assert number_of(aws, kind) == before + 1, "made twice"
    build(kind, aws, example.params).wait()
    assert build(kind, aws, example.params).delete().verb == "delete"


@pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="x"), ConnectionClosedError(endpoint_url="x")])
def test_a_connection_that_breaks_before_the_answer_makes_nothing_twice(aws, ground, error):
    example = sample("ec2_vpc", ground, aws)
    before = number_of(aws, "ec2_vpc")
    vpc = build("ec2_vpc", aws, example.params)
    broken = []

    def break_off(model, **__):
        if model.name == "CreateVpc" and not broken:
            broken.append(model.name)
            raise error

    vpc.connection.client("ec2").meta.events.register("after-call", break_off)
    assert vpc.apply().verb == "create"
    assert (broken, number_of(aws, "ec2_vpc")) == (["CreateVpc"], before + 1)
    assert build("ec2_vpc", aws, example.params).delete().verb == "delete"


def test_an_answer_that_never_comes_is_an_error_in_the_end(aws, ground):
    vpc = build("ec2_vpc", aws, sample("ec2_vpc", ground, aws).params)
    aws.admin("POST", "faults", {"kind": "transient", "operation": "CreateVpc"})
    vpc.connection.sleep = lambda seconds: None
    clock = itertools.count(step=5)
    vpc.connection.now = lambda: next(clock)
    with pytest.raises(AwsError, match="create vpc failed: ServiceUnavailable"):
        vpc.apply()


def removal_points(kind, aws, ground):
    example = made(kind, aws, ground)
    whole = build(kind, aws, example.params)
    done = cut_after(whole, -1)
    whole.delete()
    return len(done)


def made(kind, aws, ground):
    example = sample(kind, ground, aws)
    resource = build(kind, aws, example.params)
    resource.apply()
    resource.wait()
    return example


def census_of(aws, kind):
    kinds = {"ec2_nat_gateway": ["ec2_nat_gateway", "ec2_address"]}.get(kind, [kind])
    return [(item.kind, item.id) for item in census(connect(aws), OWNER.cluster, kinds).items]


def cut_removal_and_complete(kind, aws, ground, point):
    before = census_of(aws, kind)
    example = made(kind, aws, ground)
    broken = build(kind, aws, example.params)
    cut_after(broken, point)
    with pytest.raises(Cut):
        broken.delete()
    build(kind, aws, example.params).delete()
    assert census_of(aws, kind) == before, "left over"
    assert build(kind, aws, example.params).plan_delete().verb == "none"


@pytest.mark.parametrize("kind", ["ec2_nat_gateway", "kms_key", *KINDS[1::6]])
def test_a_removal_that_was_cut_off_at_some_call_leaves_nothing(aws, ground, kind):
    cut_removal_and_complete(kind, aws, ground, 1)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_that_was_cut_off_at_any_call_leaves_nothing(aws, ground, kind):
    for point in range(1, removal_points(kind, aws, ground) + 1):
        cut_removal_and_complete(kind, aws, ground, point)
