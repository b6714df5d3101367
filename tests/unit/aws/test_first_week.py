# SPDX-License-Identifier: Apache-2.0
"""A platform's first week on an account, and one in China: AWS's part of it, under the published permissions.

The account forgets, throttles, loses answers, limits and fails as AWS does. Runs may have to be repeated; nobody ever has to mend anything by
hand.
"""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import census
from tests.support.aws_walk import Walk, deployer
from tests.support.aws_week import DAYS, HELD, PACE, PLATFORM, WalkedWeek, described
from tests.support.described import describe
from tests.support.emulated_aws import EmulatedAws

NAME = "llm-week"

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def days():
    return described(NAME)


@pytest.fixture(scope="module")
def two_days():
    return described(NAME, "made", "a newer version")


@pytest.fixture(scope="module")
def china():
    given = {**PLATFORM, "platform_aws_region": "cn-north-1", "karpenter_aws_state": "present"}
    given |= {"karpenter_aws_instance_profile": True, "identity_load_balancer_controller": True}
    return describe({"china": {**given, "platform_cluster_name": "china", "network_endpoints": ["s3", "ecr.api"]}})[
        "china"
    ]


@pytest.fixture
def week(request):
    """A new account, and those who run the platform on it."""
    with EmulatedAws(*PACE, HELD, NAME) as aws:
        yield WalkedWeek(aws, NAME, request.node.callspec.params["seed"])


@pytest.mark.parametrize("seed", [100])
def test_every_default_is_changed_and_a_minor_upgraded_without_a_hand(two_days, week, seed):
    week.change(two_days["made"])
    week.day(two_days["a newer version"])


@pytest.mark.parametrize("seed", [101])
def test_what_was_removed_with_an_interruption_is_made_again_without_a_hand(two_days, week, seed):
    week.change(two_days["made"])
    week.leave(two_days["made"])
    week.change(two_days["made"])


@pytest.mark.full
@pytest.mark.parametrize("seed", range(50))
def test_nobody_mends_anything_by_hand_in_a_week(days, week, seed, capsys):
    week.live([days[name] for name in DAYS])
    with capsys.disabled():
        print(f"\n  seed {seed}: {week.runs} runs")


def test_all_of_it_is_made_and_removed_in_china(china):
    with EmulatedAws() as aws:
        connection = deployer(aws, "cn-north-1")
        walk = Walk.of(connection, "china", china)
        walk.apply()
        assert Walk.of(deployer(aws, "cn-north-1"), "china", china).apply() == []
        arns = [value for value in walk.outputs.values() if str(value).startswith("arn:")]
        assert arns and all(value.startswith("arn:aws-cn:") for value in arns)
        list(walk.remove())
        assert census(connection, "china").items == ()
