# SPDX-License-Identifier: Apache-2.0
"""A module says, takes and plans the same as the resource behind it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.llm.on_eks.plugins.doc_fragments.aws_resource import ModuleDocFragment
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.arguments import COMMON
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.module import MODULE
from ansible_collections.llm.on_eks.plugins.module_utils.aws.catalog import RESOURCES
from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.quotas import QUOTAS
from tests.support.emulated_aws import REGION, EmulatedAws
from tests.unit.aws.kinds import OWNER, STRANGER, Ground, build, sample

MODULES = [
    "eks_cluster",
    "eks_nodegroup",
    "eks_addon",
    "eks_access_entry",
    "eks_pod_identity_association",
    "efs_file_system",
    "efs_access_point",
    "iam_service_linked_role",
]
INFOS = ["eks_cluster_versions_info", "service_quota_info", "instance_offering_info"]
PACKAGE = "ansible_collections.llm.on_eks.plugins.modules"


def module_of(name):
    return importlib.import_module(f"{PACKAGE}.{name}")


def shape(options):
    """Options as they are documented, in the form of an argument specification."""
    keys = ("type", "elements", "required", "default", "choices")
    found = {}
    for name, option in options.items():
        found[name] = {key: option[key] for key in keys if key in option}
        if "suboptions" in option:
            found[name]["options"] = shape(option["suboptions"])
    return found


@pytest.fixture(scope="module")
def account():
    with EmulatedAws() as emulated:
        yield emulated


@pytest.fixture
def aws(account):
    account.reset()
    yield account
    account.reset()


@pytest.fixture(scope="module")
def ground(account):
    return Ground.make(account)


@pytest.fixture
def run(aws, monkeypatch, capsys):
    """Run a module in this process: run(name, check=False, **parameters) -> its result."""
    for key, value in aws.environment().items():
        if key.startswith("AWS_"):
            monkeypatch.setenv(key, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)

    def carry_out(name, /, *, check=False, **parameters):
        arguments = {**parameters, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module_of(name).main()
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    return carry_out


def owned(kind, example, **more):
    owner = None if kind == "iam_service_linked_role" else {"cluster": OWNER.cluster, "component": OWNER.component}
    return {**example.params, **more, "owner": owner}


@pytest.mark.parametrize("name", MODULES)
def test_documentation_and_arguments_are_the_same(name):
    documented = yaml.safe_load(module_of(name).DOCUMENTATION)["options"]
    shared = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    arguments = {**RESOURCES[name].arguments, **COMMON, **MODULE, **getattr(module_of(name), "ARGUMENTS", {})}
    assert shape({**documented, **shared}) == arguments


@pytest.mark.parametrize("name", INFOS)
def test_documentation_and_arguments_of_a_look_up_are_the_same(name):
    assert shape(yaml.safe_load(module_of(name).DOCUMENTATION)["options"]) == module_of(name).ARGUMENTS


@pytest.mark.parametrize("name", [*MODULES, *INFOS])
def test_examples_and_return_values_are_documented(name):
    module = module_of(name)
    assert all(task[f"llm.on_eks.{name}"] is not False for task in yaml.safe_load(module.EXAMPLES))
    returned = yaml.safe_load(module.RETURN)
    assert all(row["description"] and row["type"] for row in returned.values())
    if name in MODULES:
        assert set(RESOURCES[name].produces) == set(returned) - {"changes"}


@pytest.mark.parametrize("name", MODULES)
def test_module_and_resource_plan_the_same(run, aws, ground, name):
    example = sample(name, ground, aws)
    planned = build(name, aws, example.params, OWNER if name != "iam_service_linked_role" else None).plan()
    said = run(name, check=True, **owned(name, example))
    assert said["changed"] is True
    assert said["changes"] == [f"{planned.verb} {planned.subject}: {change}".rstrip(": ") for change in planned.changes]
    assert said["diff"] == [planned.diff()]


@pytest.mark.parametrize("name", MODULES)
def test_check_mode_says_what_then_happens_and_a_second_run_changes_nothing(run, aws, ground, name):
    example = sample(name, ground, aws)
    for more in ({}, example.changed):
        predicted = run(name, check=True, **owned(name, example, **more))
        done = run(name, **owned(name, example, **more))
        assert "failed" not in done, done
        assert (done["changed"], done["changes"], done["diff"]) == tuple(
            predicted[key] for key in ("changed", "changes", "diff")
        )
        assert run(name, **owned(name, example, **more))["changed"] is False
        assert all(done[output] != "(known after apply)" for output in RESOURCES[name].produces)


@pytest.mark.parametrize("name", MODULES)
def test_absent_removes_it_and_absent_again_changes_nothing(run, aws, ground, name):
    example = sample(name, ground, aws)
    run(name, **owned(name, example))
    assert run(name, check=True, **owned(name, example, state="absent"))["changed"] is True
    gone = run(name, **owned(name, example, state="absent"))
    assert gone["changed"] is True, gone
    assert run(name, **owned(name, example, state="absent"))["changed"] is False


@pytest.mark.parametrize("name", [name for name in MODULES if name != "iam_service_linked_role"])
def test_what_another_cluster_marked_is_neither_changed_nor_removed(run, aws, ground, name):
    example = sample(name, ground, aws)
    build(name, aws, example.params, STRANGER).apply()
    refused = run(name, **owned(name, example, tags={"a": "b"}))
    assert refused["failed"] and "llm.on_eks/cluster=demo" in refused["msg"]
    left = run(name, **owned(name, example, state="absent"))
    assert left["changed"] is False
    assert build(name, aws, example.params, STRANGER).plan().verb == "none"


def test_a_file_system_comes_and_goes_with_its_mount_targets(run, aws, ground):
    targets = [{"subnet_id": subnet, "security_group_ids": [ground.group]} for subnet in ground.subnets[:2]]
    wanted = {"name": "with-targets", "mount_targets": targets}
    assert run("efs_file_system", check=True, **wanted)["changed"] is True
    made = run("efs_file_system", **wanted)
    assert len([change for change in made["changes"] if change.startswith("create EFS mount target")]) > 1
    assert run("efs_file_system", **wanted)["changed"] is False
    assert run("efs_file_system", name="with-targets", state="absent")["changed"] is True
    interfaces = aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    assert not [row for row in interfaces if made["id"] in row.get("Description", "")]


def test_versions_quotas_and_offerings_are_looked_up(run, aws):
    versions = run("eks_cluster_versions_info")["versions"]
    assert [row["version"] for row in versions if row["default"]] == ["1.35"]
    assert run("eks_cluster_versions_info", version="1.12")["failed"]
    aws.admin("PUT", f"quotas/{REGION}/L-DB2E81BA", {"value": 8})
    quotas = {row["code"]: row["value"] for row in run("service_quota_info")["quotas"]}
    assert quotas["L-DB2E81BA"] == 8 and len(quotas) == len(QUOTAS)
    found = run("instance_offering_info", instance_types=["g5.xlarge", "x9.huge"], prices={"x9.huge": 2})["offerings"]
    first, second = found
    assert first["accelerators"] == 1 and first["manufacturer"] == "NVIDIA" and first["zones"]
    assert (second["zones"], second["price_per_hour"]) == ([], 2.0)


def test_a_failure_is_one_sentence(run, aws):
    said = run("eks_addon", cluster="nowhere", name="vpc-cni")
    assert said["failed"] and said["msg"].startswith("EKS add-on nowhere/vpc-cni: ") and "\n" not in said["msg"]


def test_the_action_group_lists_every_aws_module():
    runtime = yaml.safe_load((Path(__file__).resolve().parents[2] / "meta" / "runtime.yml").read_text())
    assert runtime["action_groups"]["aws"] == sorted([*MODULES, *INFOS])
