# SPDX-License-Identifier: Apache-2.0
"""Answers are held against botocore's models: what must be caught is caught."""

from __future__ import annotations

import json

import botocore.session
import pytest

from local.aws import shapes


@pytest.fixture(scope="module")
def model():
    return botocore.session.get_session().get_service_model


def output(model, service, operation):
    return model(service).operation_model(operation).output_shape


def test_a_member_that_the_model_does_not_have_is_found_in_json(model):
    body = json.dumps({"cluster": {"name": "a", "resourcesVpcConfig": {"subnets": []}}}).encode()
    assert shapes.unknown_in_json(output(model, "eks", "DescribeCluster"), body) == [
        "DescribeClusterResponse.cluster.resourcesVpcConfig.subnets: not a member of VpcConfigResponse"
    ]


def test_a_member_that_the_model_does_not_have_is_found_in_xml(model):
    body = b"<GetRoleResponse><GetRoleResult><Role><Colour>red</Colour></Role></GetRoleResult></GetRoleResponse>"
    assert shapes.unknown_in_xml("query", output(model, "iam", "GetRole"), body) == [
        "GetRoleResponse.Role.Colour: not a member of Role"
    ]


def test_a_required_member_that_is_missing_is_found(model):
    found = shapes.missing(output(model, "efs", "DescribeFileSystems"), {"FileSystems": [{"FileSystemId": "fs-1"}]})
    assert "DescribeFileSystemsResponse.FileSystems[0].OwnerId: required and missing" in found


def test_a_value_outside_its_enumeration_is_found(model):
    found = shapes.wrong_enums(output(model, "eks", "DescribeCluster"), {"cluster": {"status": "SLEEPING"}})
    assert len(found) == 1 and "'SLEEPING' is not one of" in found[0]


def test_a_map_may_have_any_keys(model):
    body = json.dumps({"cluster": {"tags": {"any": "thing"}}}).encode()
    assert shapes.unknown_in_json(output(model, "eks", "DescribeCluster"), body) == []
