# SPDX-License-Identifier: Apache-2.0
"""A plan against an account that cannot be asked: the emulated one that a run would only start."""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import EmptyAccount
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import Owner
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from tests.support import aws_platform


def test_a_whole_platform_is_planned_without_a_call():
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.aws_access import AwsAccess
    from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine

    components = aws_platform.platform("demo", "arn:aws:iam::123456789012:role/deployer")
    done = engine.converge(
        engine.Request(
            lose_data=("all",), descriptors=components, aws=AwsAccess(EmptyAccount("us-west-2"), "demo"), check=True
        )
    )
    assert not done.errors
    assert {action.verb for action in done.actions} == {"create"}
    assert len(done.actions) == sum(len(one["aws"]) for one in components) + 2  # and a namespace with a ConfigMap


@pytest.mark.parametrize("version", ["default", "latest", "v1.2.3"])
def test_an_add_on_is_planned_whose_version_nobody_can_tell(version):
    params = {"cluster": "demo", "name": "vpc-cni", "version": version, "kubernetes_version": "1.35"}
    plan = RESOURCES["eks_addon"](EmptyAccount("us-west-2"), params, Owner("demo", "nodes")).plan()
    assert plan.verb == "create"


def test_the_caller_is_not_known():
    assert "(known after apply)" in EmptyAccount("us-west-2").identity.arn
