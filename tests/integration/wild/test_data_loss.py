# SPDX-License-Identifier: Apache-2.0
"""What holds data is not deleted unless somebody said so; what goes with it is told apart, in plan and report."""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.report import result_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.run_plan import plan_of, table
from tests.support.cluster_client import absent, apply, component, config_map, read, subjects

pytestmark = pytest.mark.apiserver


def claim(name, **spec):
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {**wanted, **spec}}


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


@pytest.fixture
def stored(client, name):
    """A component with a claim, removed in the end."""
    described = component(name, config_map("a"), claim("data"))
    apply(client, [described])
    yield described
    run(client, absent(described), lose_data=["all"])


@pytest.mark.parametrize("check", [True, False])
def test_a_claim_that_is_dropped_is_refused_and_stays(client, name, stored, check):
    refused = run(client, [component(name, config_map("a"))], check=check)
    (error,) = refused.errors
    assert f"PersistentVolumeClaim {name}/data would be deleted, which loses data: the files of its volume" in error
    assert f"PersistentVolumeClaim/{name}/data in platform_lose_data or in the component's `lose_data`" in error
    assert not read(client, "v1", "PersistentVolumeClaim", "data", name)["metadata"].get("deletionTimestamp")


@pytest.mark.parametrize("what", ["state", "namespace"])
def test_a_component_that_goes_or_moves_is_refused_before_anything_of_it_is_deleted(client, name, stored, what):
    changed = {"state": {"state": "absent"}, "namespace": {"namespace": {"name": f"{name}-new"}}}[what]
    refused = run(client, [{**stored, **changed}])
    assert "loses data" in refused.errors[0]
    assert read(client, "v1", "PersistentVolumeClaim", "data", name) is not None
    assert read(client, "v1", "ConfigMap", "a", name) is not None
    run(client, [stored], lose_data=["all"])


@pytest.mark.parametrize("how", ["descriptor", "variable", "all"])
def test_what_is_named_goes_and_is_told_apart(client, name, stored, how):
    later = component(name, config_map("a"))
    options = {}
    if how == "descriptor":
        later["lose_data"] = [{"kind": "PersistentVolumeClaim", "name": "data"}]
    else:
        options["lose_data"] = ["all"] if how == "all" else [f"PersistentVolumeClaim/{name}/data"]
    planned = run(client, [later], check=True, **options)
    assert f"loses data: PersistentVolumeClaim {name}/data ({name}): the files of its volume" in table(plan_of(planned))
    done = run(client, [later], **options)
    assert not done.errors
    assert subjects(done, "delete") == [f"PersistentVolumeClaim {name}/data"]
    (action,) = result_of(done, diff=False)["components"][name]["actions"]
    assert action["loses_data"] == "the files of its volume"


def test_a_claim_whose_volume_is_kept_loses_nothing(client, kubectl, name):
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nonexistent"},
            "claimRef": {"namespace": name, "name": "data"},
        },
    }
    kubectl("create", "-f", "-", given=volume)
    described = component(name, claim("data", volumeName=name))
    apply(client, [described])
    gone = run(client, absent(described))
    assert not gone.errors
    assert not any(action.loses for action in gone.actions)
    kubectl("delete", "persistentvolume", name, "--wait=false")


def test_a_claim_that_is_named_in_recreate_may_be_lost_and_the_plan_says_so(client, name):
    described = component(name, claim("data"), recreate=[{"kind": "PersistentVolumeClaim", "name": "data"}])
    apply(client, [described])
    described["manifests"][0]["spec"]["storageClassName"] = "other"
    planned = run(client, [described], check=True)
    assert [action.loses for action in planned.actions] == ["the files of its volume"]
    assert not run(client, [described]).errors
    assert not run(client, absent(described), lose_data=["all"]).errors
