# SPDX-License-Identifier: Apache-2.0
"""The catalog finds the kinds by itself: in the collection, and in what Ansible sends with a module."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.resource import AwsResource
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES, height
from ansible_collections.llm.on_eks.plugins.module_utils.aws.survey.census import KINDS
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import aws as nodes
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.identity import Identity

REPO = Path(__file__).resolve().parents[3]
UTILS = REPO / "plugins/module_utils"
INSIDE = Path("ansible_collections/llm/on_eks/plugins/module_utils")


def test_each_kind_is_named_after_its_service():
    services = {name.partition("_")[0] for name in RESOURCES}
    assert services == {"ec2", "ecr", "efs", "eks", "events", "iam", "kms", "log", "s3", "sqs"}


@pytest.mark.programs
def test_a_payload_has_the_kinds_that_it_carries(tmp_path):
    payload = tmp_path / "payload.zip"
    with zipfile.ZipFile(payload, "w") as packed:
        for above in (*[*INSIDE.parents][:-1], INSIDE, INSIDE / "aws"):
            packed.writestr(str(above / "__init__.py"), "")
        for name in ("errors.py", "names.py", "aws/catalog.py"):
            packed.write(UTILS / name, INSIDE / name)
        for source in (*UTILS.glob("aws/base/*.py"), *UTILS.glob("aws/efs/*.py"), *UTILS.glob("aws/reference/*.py")):
            packed.write(source, INSIDE / source.relative_to(UTILS))
    code = f"from {'.'.join((INSIDE / 'aws').parts)}.catalog import RESOURCES; print(*RESOURCES)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(payload)}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["efs_access_point", "efs_file_system", "efs_mount_target"], done.stderr


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_kind_says_everything_about_itself(kind):
    made = RESOURCES[kind]
    for name in ("service", "noun", "not_found", "key", "produces", "arguments"):
        assert getattr(made, name), f"{kind} does not say its {name}"
    for name in ("stands_on", "carries_traffic", "tagging", "passing"):
        assert hasattr(made, name), f"{kind} does not say its {name}"
    assert made.in_census is (kind in KINDS)
    assert not made.in_census or made.census.__func__ is not AwsResource.census.__func__, f"{kind} cannot be counted"
    assert set(made.stands_on) <= set(RESOURCES) and kind not in made.stands_on
    assert set(made.key) <= set(made.arguments)


def test_what_others_stand_on_is_removed_after_them():
    for kind, made in RESOURCES.items():
        assert all(height(below) < height(kind) for below in made.stands_on)
    targets = [Identity("aws", kind, "", "name=x") for kind in RESOURCES]
    order = [target.kind for target in sorted(targets, key=nodes._rank)]
    for kind, made in RESOURCES.items():
        assert all(order.index(below) > order.index(kind) for below in made.stands_on), kind


def test_a_kind_that_nobody_ranked_is_not_removed_last():
    """Each new kind once sorted behind the VPC: only a list by hand knew the order."""
    targets = [Identity("aws", kind, "", "name=x") for kind in ("ec2_vpc", "ec2_subnet", "ecr_repository", "iam_role")]
    order = [target.kind for target in sorted(targets, key=nodes._rank)]
    assert order.index("ecr_repository") < order.index("ec2_vpc")
