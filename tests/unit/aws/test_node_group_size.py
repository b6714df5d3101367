# SPDX-License-Identifier: Apache-2.0
"""An autoscaler owns the number of nodes; we own its bounds."""

from __future__ import annotations

import pytest

from .kinds import Ground, build, sample


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture
def described(aws, ground):
    """Parameters of a group of its own, from none to four nodes."""
    return {**sample("eks_nodegroup", ground, aws).params, "min_size": 0, "max_size": 4}


def group(aws, params, **other):
    return build("eks_nodegroup", aws, {**params, **other})


def where(params):
    return {"clusterName": params["cluster"], "nodegroupName": params["name"]}


def scale(aws, params, nodes):
    """As an autoscaler does."""
    aws.client("eks").update_nodegroup_config(**where(params), scalingConfig={"desiredSize": nodes})


def nodes(aws, params):
    return aws.client("eks").describe_nodegroup(**where(params))["nodegroup"]["scalingConfig"]["desiredSize"]


def test_it_begins_with_the_fewest_and_keeps_what_an_autoscaler_sets(aws, described):
    group(aws, described).apply()
    assert nodes(aws, described) == 0
    scale(aws, described, 3)
    assert group(aws, described).plan().verb == "none"


@pytest.mark.parametrize(("bounds", "expected"), [({"max_size": 2}, 2), ({"min_size": 4}, 4), ({"max_size": 9}, 3)])
def test_it_moves_only_as_far_as_new_bounds_ask(aws, described, bounds, expected):
    group(aws, described).apply()
    scale(aws, described, 3)
    assert group(aws, described, **bounds).apply().verb == "update"
    assert nodes(aws, described) == expected


def test_a_group_that_is_made_anew_has_as_many_as_before(aws, described):
    group(aws, described, max_size=1).apply()
    scale(aws, described, 1)
    assert group(aws, described, max_size=1, instance_types=["m7i.xlarge"]).apply().verb == "replace"
    assert nodes(aws, described) == 1
