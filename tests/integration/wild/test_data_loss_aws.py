# SPDX-License-Identifier: Apache-2.0
"""File systems and buckets are not deleted unless somebody said so."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.emulated_aws import EmulatedAws
from tests.support.emulated_cluster import access

FILES = {"type": "efs_file_system", "name": "files", "properties": {"name": "demo-models"}}
QUEUE = {"type": "sqs_queue", "name": "queue", "properties": {"name": "demo-queue"}}


@pytest.fixture
def account():
    with EmulatedAws() as aws:
        yield aws


def run(account, *entries, state="present", **options):
    described = [{"name": "storage", "state": state, "aws": list(entries)}]
    return engine.converge(engine.Request(descriptors=described, aws=access(account, "demo"), **options))


@pytest.mark.parametrize("check", [True, False])
def test_a_file_system_is_refused_by_its_type_and_name(account, check):
    assert not run(account, FILES, QUEUE).errors
    (error,) = run(account, FILES, QUEUE, state="absent", check=check).errors
    assert "loses data: the files in it" in error
    assert "efs_file_system/demo-models in platform_lose_data" in error
    assert account.client("efs").describe_file_systems()["FileSystems"]


@pytest.mark.parametrize("named", ["efs_file_system/demo-models", "efs_file_system/files", "all"])
def test_one_that_is_named_goes_and_is_told_apart(account, named):
    assert not run(account, FILES).errors
    gone = run(account, FILES, state="absent", lose_data=[named])
    assert not gone.errors
    assert [action.loses for action in gone.actions] == ["the files in it"]
    assert not account.client("efs").describe_file_systems()["FileSystems"]
