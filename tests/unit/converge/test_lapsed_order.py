# SPDX-License-Identifier: Apache-2.0
"""The order in which what only earlier revisions had on AWS goes."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.identity import Identity
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.steps import build
from tests.support import aws_platform


def gone():
    platform = [
        aws_platform.network("c"),
        aws_platform.cluster("c", "arn"),
        aws_platform.nodes(),
        aws_platform.storage(),
    ]
    return parse([{**component, "state": "absent"} for component in platform])


def of_kinds(kinds):
    return {"network": [Identity("aws", kind, "", "name=old") for kind in kinds]}


def ends(vertices):
    return {
        vertex.node.kind: vertex
        for vertex in vertices
        if hasattr(vertex.node, "kind") and "earlier" in vertex.node.name
    }


def reaches(vertices, later, earlier):
    """Whether one vertex comes after another, perhaps by way of others."""
    seen, todo = set(), [later]
    while todo:
        one = vertices[todo.pop()]
        for index in (one.after | one.behind) - seen:
            seen.add(index)
            todo.append(index)
    return earlier in seen


@pytest.mark.parametrize(
    "kinds", [*([kind] for kind in sorted(RESOURCES)), sorted(RESOURCES)], ids=lambda kinds: "+".join(kinds)[:40]
)
def test_resources_of_every_kind_can_go_with_a_whole_platform(kinds):
    assert set(ends(build(gone(), lapsed=of_kinds(kinds)))) == set(kinds)


@pytest.mark.parametrize(
    "kinds", list(itertools.combinations(["ec2_subnet", "eks_nodegroup", "iam_instance_profile", "iam_role"], 2))
)
def test_two_kinds_can_go_together(kinds):
    assert set(ends(build(gone(), lapsed=of_kinds(kinds)))) == set(kinds)


def test_what_nothing_depends_on_goes_before_the_record_and_a_subnet_after_the_cluster():
    vertices = build(gone(), lapsed=of_kinds(["ec2_subnet", "iam_instance_profile"]))
    found = ends(vertices)
    [forgets, *__] = [
        one.index for one in vertices if one.node.name == "removal of CRDs" and one.component == "network"
    ]
    assert reaches(vertices, forgets, found["iam_instance_profile"].index)
    [cluster] = [one.index for one in vertices if one.node.name == "end of EKS cluster c"]
    [vpc] = [one.index for one in vertices if one.node.name == "end of VPC c"]
    assert reaches(vertices, found["ec2_subnet"].index, cluster)
    assert reaches(vertices, vpc, found["ec2_subnet"].index)


def test_an_order_that_cannot_be_leaves_what_is_described_able_to_go():
    provider = {"type": "iam_oidc_provider", "name": "oidc", "properties": {"issuer": "${out:cluster.cluster_issuer}"}}
    role = {
        "type": "iam_role",
        "name": "pods",
        "properties": {"name": "pods", "description": "${out:identity.oidc_arn}"},
    }
    identity = parse([{"name": "identity", "state": "absent", "aws": [provider, role]}])
    vertices = build([*gone(), *identity], lapsed=of_kinds(["eks_cluster"]))
    assert not ends(vertices) and [one for one in vertices if one.node.name == "end of VPC c"]
