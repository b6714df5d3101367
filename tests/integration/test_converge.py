# SPDX-License-Identifier: Apache-2.0
"""Converge against a real API server: what is planned is what happens, and nothing of others is touched."""

import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError  # noqa: E402
from ansible_collections.llm.on_eks.plugins.module_utils.names import NAMESPACE_SYSTEM  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds import remove  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks.lease import LockError, held  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.objects.record import Recorder, RecordError  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import drift  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.rollback import rollback  # noqa: E402
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.run_plan import StalePlanError, plan_of  # noqa: E402
from tests.support.cluster_client import (  # noqa: E402
    absent,
    apply,
    component,
    config_map,
    deployment,
    kubectl,
    new_client,
    plan,
    read,
    subjects,
    unique,
)
from tests.support.waiting import until  # noqa: E402

pytestmark = pytest.mark.apiserver


@pytest.fixture
def client(api_server):
    return new_client(api_server)


@pytest.fixture
def name():
    return unique("c")


def test_an_empty_cluster_is_planned_without_asking_anybody(name):
    planned = engine.converge(engine.Request(descriptors=[component(name, config_map("a"))], check=True))
    assert subjects(planned) == [f"Namespace {name}", f"ConfigMap {name}/a"]


def test_a_first_run_makes_what_the_plan_says_and_a_second_one_changes_nothing(client, name):
    result = apply(client, [component(name, config_map("a"), deployment("web"))])
    assert subjects(result, "create") == [f"Namespace {name}", f"ConfigMap {name}/a", f"Deployment {name}/web"]


def test_a_plan_writes_nothing(client, name):
    plan(client, [component(name, config_map("a"))])
    assert read(client, "v1", "Namespace", name) is None


def test_a_change_is_planned_field_by_field(client, name):
    apply(client, [component(name, deployment("web", replicas=1))])
    planned = plan(client, [component(name, deployment("web", replicas=3, image="registry.test/app:2"))])
    (action,) = planned.actions
    assert {(one.path, one.before, one.after) for one in action.changes} == {
        ("spec.replicas", 1, 3),
        ("spec.template.spec.containers[app].image", "registry.test/app:1", "registry.test/app:2"),
    }
    assert action.disruption == "rolling"


def test_what_a_newer_descriptor_drops_is_pruned(client, name):
    apply(client, [component(name, config_map("a"), config_map("b"))])
    result = apply(client, [component(name, config_map("a"))])
    assert subjects(result) == [f"ConfigMap {name}/b"]
    assert read(client, "v1", "ConfigMap", "b", name) is None


def test_a_renamed_object_is_made_before_the_old_one_goes(client, name):
    apply(client, [component(name, config_map("old"))])
    result = apply(client, [component(name, config_map("new"))])
    assert [(action.verb, action.subject) for action in result.actions] == [
        ("create", f"ConfigMap {name}/new"),
        ("delete", f"ConfigMap {name}/old"),
    ]


def test_an_object_that_moves_to_another_component_is_not_deleted(client, name):
    other = unique("c")
    home = {"namespace": {"name": name}}
    apply(client, [component(name, config_map("a"), config_map("b"))])
    moved = [component(name, config_map("a")), {**component(other, config_map("b")), **home}]
    before = read(client, "v1", "ConfigMap", "b", name)["metadata"]["uid"]
    apply(client, moved)
    assert read(client, "v1", "ConfigMap", "b", name)["metadata"]["uid"] == before


def test_removal_takes_everything_of_ours_and_the_namespace_with_it(client, name):
    described = component(name, config_map("a"), deployment("web"))
    apply(client, [described])
    result = apply(client, absent(described))
    assert subjects(result) == [f"Deployment {name}/web", f"ConfigMap {name}/a", f"Namespace {name}"]
    assert read(client, "v1", "Namespace", name) is None
    assert Recorder(client).history(name) == []


def test_removal_leaves_what_somebody_else_put_into_the_namespace(client, name, api_server):
    described = component(name, config_map("a"))
    apply(client, [described])
    kubectl(api_server, "-n", name, "create", "configmap", "theirs")
    result = apply(client, absent(described))
    assert subjects(result) == [f"ConfigMap {name}/a"]
    assert read(client, "v1", "ConfigMap", "theirs", name) is not None


def test_two_components_in_one_namespace_leave_it_together(client, name):
    one, two = (
        component(name, config_map("a")),
        {**component(unique("c"), config_map("b")), "namespace": {"name": name}},
    )
    apply(client, [one, two])
    result = apply(client, absent(one, two))
    assert subjects(result)[-1] == f"Namespace {name}"


def test_a_part_whose_entry_was_deleted_goes_and_strangers_and_the_others_stay(client, name):
    def described(*models):
        owner = {**component(f"{name}-models", config_map("owner", namespace=name)), "namespace": {"name": name}}
        kinds = [f"{name}-model-", f"{name}-engine-"]
        owner["parts"] = {"prefixes": kinds, "names": [f"{kind}{model}" for kind in kinds for model in models]}
        made = [
            {**component(f"{kind}{model}", config_map(f"{kind}{model}", namespace=name)), "namespace": {"name": name}}
            for kind in kinds
            for model in models
        ]
        return [owner, *made]

    stranger = {**component(f"{name}-other", config_map("other", namespace=name)), "namespace": {"name": name}}
    apply(client, [*described("one", "two"), stranger])
    gone = [f"ConfigMap {name}/{name}-{kind}-two" for kind in ("engine", "model")]
    assert subjects(plan(client, described("one")), "delete") == gone
    # A role that is skipped describes nothing: what it serves stays, because the list still names it.
    assert subjects(plan(client, described("one", "two")[:2])) == []
    assert subjects(apply(client, described("one")), "delete") == gone
    assert not {f"{name}-engine-two", f"{name}-model-two"} & set(Recorder(client).components())
    assert read(client, "v1", "ConfigMap", f"{name}-engine-one", name) is not None


def test_what_is_retained_stays(client, name):
    described = component(name, config_map("a"), config_map("data"), retain=[{"kind": "ConfigMap", "name": "data"}])
    apply(client, [described])
    engine.converge(engine.Request(descriptors=absent(described), client=client))
    assert read(client, "v1", "ConfigMap", "a", name) is None
    assert read(client, "v1", "ConfigMap", "data", name) is not None


def test_an_object_of_others_is_refused_unless_adoption_is_asked_for(client, name, api_server):
    kubectl(api_server, "create", "namespace", name)
    kubectl(api_server, "-n", name, "create", "configmap", "a", "--from-literal=theirs=1")
    described = component(name, config_map("a"))
    refused = engine.converge(engine.Request(descriptors=[described], client=client))
    assert "was made by kubectl-create" in refused.errors[0]
    assert "adopt: true" in refused.errors[0]
    result = apply(client, [{**described, "adopt": True}])
    assert [(action.verb, action.subject) for action in result.actions] == [("adopt", f"ConfigMap {name}/a")]


def test_a_namespace_that_was_there_before_us_is_used_and_left(client, name, api_server):
    kubectl(api_server, "create", "namespace", name)
    described = component(name, config_map("a"))
    apply(client, [described])
    apply(client, absent(described))
    assert read(client, "v1", "Namespace", name) is not None


def test_immutable_fields_are_changed_only_where_the_descriptor_allows_it(client, name):
    apply(client, [component(name, deployment("web"))])
    changed = deployment("web")
    changed["spec"]["selector"] = changed["spec"]["template"]["metadata"] = None
    changed["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    changed["spec"]["template"]["metadata"] = {"labels": {"app": "other"}}
    refused = engine.converge(engine.Request(descriptors=[component(name, changed)], client=client, check=True))
    assert "`recreate`" in refused.errors[0]
    allowed = component(name, changed, recreate=[{"kind": "Deployment", "name": "web"}])
    (action,) = plan(client, [allowed]).actions
    assert (action.verb, action.disruption) == ("recreate", "outage")
    engine.converge(engine.Request(descriptors=[allowed], client=client))
    assert read(client, "apps/v1", "Deployment", "web", name)["spec"]["selector"]["matchLabels"] == {"app": "other"}


def test_a_storage_class_is_made_anew_for_other_parameters(client, name):
    def described(system):
        parameters = {"fileSystemId": system}
        made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
        made |= {"provisioner": "efs.csi.aws.com", "parameters": parameters}
        return [component(name, made, recreate=[{"kind": "StorageClass", "name": name}])]

    apply(client, described("fs-1"))
    (action,) = plan(client, described("fs-2")).actions
    assert action.verb == "recreate"
    apply(client, described("fs-2"))
    found = client.get(client.resource("storage.k8s.io/v1", "StorageClass"), name)
    assert found["parameters"] == {"fileSystemId": "fs-2"}
    apply(client, absent(*described("fs-2")))


def test_replicas_that_an_autoscaler_set_are_left_to_it(client, name):
    described = component(name, deployment("web", replicas=1))
    apply(client, [described])
    resource = client.resource("apps/v1", "Deployment")
    client._json(
        "PATCH",
        f"{resource.path(name, 'web')}/scale",
        query={"fieldManager": "kube-controller-manager"},
        body=b'{"spec":{"replicas":5}}',
        content_type="application/merge-patch+json",
    )
    result = engine.converge(engine.Request(descriptors=[described], client=client))
    assert subjects(result) == []
    assert read(client, "apps/v1", "Deployment", "web", name)["spec"]["replicas"] == 5
    assert any("is left to kube-controller-manager" in note for note in result.components[name].notes)


def test_a_field_that_a_person_changed_is_taken_back_and_the_note_names_the_tool(client, name, api_server):
    described = component(name, config_map("a", key="ours"))
    apply(client, [described])
    kubectl(api_server, "-n", name, "patch", "configmap", "a", "--type=merge", "-p", '{"data":{"key":"theirs"}}')
    result = apply(client, [described])
    assert subjects(result, "update") == [f"ConfigMap {name}/a"]
    assert "changed by kubectl-patch" in result.components[name].notes[0]


def test_a_finalizer_that_nobody_clears_is_named(client, name):
    stuck = config_map("a")
    stuck["metadata"]["finalizers"] = ["example.com/held"]
    described = component(name, stuck)
    apply(client, [described])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remove, "wait_gone", functools.partial(remove.wait_gone, timeout_s=1))
        result = engine.converge(engine.Request(descriptors=absent(described), client=client))
    assert "held by example.com/held" in result.errors[0]
    client._json(
        "PATCH",
        client.resource("v1", "ConfigMap").path(name, "a"),
        body=b'{"metadata":{"finalizers":null}}',
        content_type="application/merge-patch+json",
    )
    engine.converge(engine.Request(descriptors=absent(described), client=client))
    assert read(client, "v1", "Namespace", name) is None


def test_a_claim_that_a_pod_mounts_names_the_pod(client, name, api_server):
    """A pod that has a node counts as one that uses its claims, even when it has ended."""
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}}
    claim["spec"] = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    described = component(name, claim)
    apply(client, [described])
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": "models"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}}
    pod["spec"] = {"nodeName": "one", "containers": [{"name": "c", "image": "i"}], "volumes": [volume]}
    pod["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    kubectl(api_server, "-n", name, "create", "-f", "-", given=pod)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remove, "wait_gone", functools.partial(remove.wait_gone, timeout_s=1))
        result = engine.converge(engine.Request(descriptors=absent(described), client=client, lose_data=["all"]))
    assert "it is held by kubernetes.io/pvc-protection; mounted by pod shell" in result.errors[0]


def test_what_a_components_programs_leave_goes_with_it_and_nothing_else(client, name, api_server):
    """`leaves` names it; it is made elsewhere, and without our mark."""
    elsewhere = unique("elsewhere")
    kubectl(api_server, "create", "namespace", elsewhere)
    for one in ("made", "strange"):
        kubectl(api_server, "-n", elsewhere, "create", "configmap", one)
    left = {"kind": "ConfigMap", "name": "made", "namespace": elsewhere}
    described = component(name, config_map("a"), leaves=[left])
    apply(client, [described])
    assert read(client, "v1", "ConfigMap", "made", elsewhere) is not None
    planned = engine.converge(engine.Request(descriptors=absent(described), client=client, check=True))
    assert f"ConfigMap {elsewhere}/made" in {str(action.subject) for action in planned.actions}
    apply(client, absent(described))
    assert read(client, "v1", "ConfigMap", "made", elsewhere) is None
    assert read(client, "v1", "ConfigMap", "strange", elsewhere) is not None
    kubectl(api_server, "delete", "namespace", elsewhere)


@pytest.mark.parametrize("made_by", ["us", "an operator"])
def test_the_claims_of_a_stateful_set_go_with_it_when_their_loss_is_allowed(client, name, api_server, made_by):
    """Kubernetes leaves them, and with them the namespace. An operator's set is owned by an object of ours."""
    one = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store"},
        "spec": {
            "serviceName": "store",
            "selector": {"matchLabels": {"app": "store"}},
            "template": {
                "metadata": {"labels": {"app": "store"}},
                "spec": {"containers": [{"name": "a", "image": "a"}]},
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }
            ],
        },
    }
    described = component(name, one if made_by == "us" else config_map("wish"))
    apply(client, [described])
    if made_by != "us":
        wish = read(client, "v1", "ConfigMap", "wish", name)["metadata"]
        one["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "wish", "uid": wish["uid"], "controller": True}
        ]
        kubectl(api_server, "-n", name, "create", "-f", "-", given=one)
    until(lambda: read(client, "v1", "PersistentVolumeClaim", "data-store-0", name), seconds=30)
    kept = engine.converge(engine.Request(descriptors=absent(described), client=client))
    assert "PersistentVolumeClaim/" in kept.errors[0] and "loses data" in kept.errors[0]
    assert read(client, "apps/v1", "StatefulSet", "store", name) is not None
    planned = engine.converge(
        engine.Request(descriptors=absent(described), client=client, lose_data=["all"], check=True)
    )
    gone = engine.converge(engine.Request(descriptors=absent(described), client=client, lose_data=["all"]))
    assert not gone.errors
    assert {str(action.subject) for action in planned.actions} == {str(action.subject) for action in gone.actions}
    assert read(client, "v1", "Namespace", name) is None


def test_one_failure_cancels_only_what_depends_on_it_and_all_errors_come_back(client, name):
    bad, after, beside = unique("bad"), unique("after"), unique("beside")
    broken = config_map("a")
    broken["data"] = {"not a valid key!": "x"}
    components = [
        component(bad, broken),
        component(after, config_map("b"), requires=[bad]),
        component(beside, config_map("c")),
    ]
    result = engine.converge(engine.Request(descriptors=components, client=client))
    assert len(result.errors) == 1 and result.errors[0].startswith(f"{bad}: ConfigMap {bad}/a")
    assert f"{bad} (objects) failed" in result.components[after].cancelled
    assert read(client, "v1", "ConfigMap", "c", beside) is not None


def test_an_output_of_one_component_reaches_another(client, name):
    first, second = unique("first"), unique("second")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    components = [
        component(first, service, outputs={"address": {"kind": "Service", "name": "web", "path": "spec.clusterIP"}}),
        component(second, config_map("a", address=f"http://${{out:{first}.address}}")),
    ]
    planned = engine.converge(engine.Request(descriptors=components, check=True))
    assert "(known after apply)" in str(planned.actions[-1].after)
    engine.converge(engine.Request(descriptors=components, client=client))
    address = read(client, "v1", "Service", "web", first)["spec"]["clusterIP"]
    assert read(client, "v1", "ConfigMap", "a", second)["data"]["address"] == f"http://{address}"
    assert plan(client, components).actions == []


def test_a_reference_to_nothing_is_refused_before_anything_is_touched(client, name):
    with pytest.raises(DescriptorError, match=r"refers to \$\{out:nobody.address\}"):
        engine.converge(
            engine.Request(descriptors=[component(name, config_map("a", x="${out:nobody.address}"))], client=client)
        )
    assert read(client, "v1", "Namespace", name) is None


def test_what_is_required_may_be_installed_already(client, name):
    base = unique("base")
    apply(client, [component(base, config_map("a"))])
    apply(client, [component(name, config_map("b"), requires=[base])])
    with pytest.raises(DescriptorError, match="neither part of this run nor installed"):
        engine.converge(
            engine.Request(descriptors=[component(name, config_map("b"), requires=["nowhere"])], client=client)
        )


def test_a_custom_kind_is_planned_and_made_in_the_run_that_defines_it(client, name):
    group = f"{name}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 1}}
    described = component(name, thing, crds=[definition])
    apply(client, [described])
    apply(client, absent(described))
    assert read(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", f"things.{group}") is None


# --- records, rollback, plan files


def test_each_change_is_a_revision_and_a_run_without_one_is_none(client, name):
    for text in ("1", "2"):
        engine.converge(engine.Request(descriptors=[component(name, config_map("a", key=text))], client=client))
        engine.converge(engine.Request(descriptors=[component(name, config_map("a", key=text))], client=client))
    history = Recorder(client).history(name)
    assert [(one.number, one.state) for one in history] == [(1, "applied"), (2, "applied")]
    with pytest.raises(RecordError, match="no revision so far back; recorded are 1, 2"):
        rollback(client, name, -2, check=True)
    assert history[0].digest != history[1].digest
    assert history[1].by and history[1].at


def test_the_last_ten_revisions_are_kept(client, name):
    for number in range(12):
        engine.converge(engine.Request(descriptors=[component(name, config_map("a", key=str(number)))], client=client))
    recorder = Recorder(client)
    assert [one.number for one in recorder.history(name)] == list(range(3, 13))
    with pytest.raises(RecordError, match="no revision 2; recorded are 3, 4"):
        recorder.documents(name, 2)
    assert read(client, "v1", "ConfigMap", f"record-{name}-2", NAMESPACE_SYSTEM) is None


def test_rollback_brings_back_objects_and_removes_newer_ones(client, name):
    engine.converge(
        engine.Request(descriptors=[component(name, config_map("a", key="1"), config_map("gone"))], client=client)
    )
    engine.converge(
        engine.Request(descriptors=[component(name, config_map("a", key="2"), config_map("new"))], client=client)
    )
    planned = rollback(client, name, -1, check=True)
    result = rollback(client, name, -1, check=False)
    assert not result.errors
    assert (
        subjects(planned)
        == subjects(result)
        == [
            f"ConfigMap {name}/a",
            f"ConfigMap {name}/gone",
            f"ConfigMap {name}/new",
        ]
    )
    assert read(client, "v1", "ConfigMap", "a", name)["data"] == {"key": "1"}
    assert Recorder(client).history(name)[-1].rolled_back_to == 1


def test_a_plan_that_is_still_true_is_carried_out_and_a_stale_one_refused(client, name, api_server):
    described = [component(name, config_map("a", key="1"))]
    apply(client, described)
    wanted = [component(name, config_map("a", key="2"))]
    planned = plan(client, wanted)
    kubectl(api_server, "-n", name, "delete", "configmap", "a")
    with pytest.raises(StalePlanError, match=f"would also create ConfigMap {name}/a"):
        engine.converge(engine.Request(descriptors=wanted, client=client, expect=planned))
    assert read(client, "v1", "ConfigMap", "a", name) is None
    fresh = plan(client, wanted)
    assert (
        plan_of(engine.converge(engine.Request(descriptors=wanted, client=client, expect=fresh))).digest == fresh.digest
    )


# --- secrets


def test_a_generated_secret_is_made_once_and_shown_nowhere(client, name):
    described = component(name, config_map("a"), secrets=[{"name": "key", "generate": {"api_key": 32}}])
    first = apply(client, [described])
    secret = read(client, "v1", "Secret", "key", name)["data"]["api_key"]
    assert secret not in str([action.diff(first.masker) for action in first.actions])
    apply(client, [component(name, config_map("a", key="2"), secrets=described["secrets"])])
    assert read(client, "v1", "Secret", "key", name)["data"]["api_key"] == secret


def test_a_generated_secret_moves_with_its_component_and_keeps_its_value(client, name):
    generated = {"namespace": {"name": name}, "secrets": [{"name": "key", "generate": {"api_key": 32}}]}
    old, new = component(unique("old"), config_map("a")), component(unique("new"), config_map("a"))
    apply(client, [{**old, **generated}])
    secret = read(client, "v1", "Secret", "key", name)
    apply(client, [{**new, **generated}, *absent({**old, **generated})])
    moved = read(client, "v1", "Secret", "key", name)
    assert (moved["metadata"]["uid"], moved["data"]) == (secret["metadata"]["uid"], secret["data"])
    apply(client, absent({**new, **generated}))
    assert read(client, "v1", "Namespace", name) is None


def test_a_secret_that_must_exist_is_asked_for_by_name(client, name):
    described = component(name, secrets=[{"name": "token", "from": "existing"}])
    result = engine.converge(engine.Request(descriptors=[described], client=client))
    assert f"Secret {name}/token does not exist" in result.errors[0]


# --- drift


def test_drift_names_the_object_the_field_and_the_hand(client, name, api_server):
    described = [component(name, config_map("a", key="1"), config_map("b"), deployment("web"))]
    apply(client, described)
    kubectl(api_server, "-n", name, "patch", "configmap", "a", "--type=merge", "-p", '{"data":{"key":"9"}}')
    kubectl(api_server, "-n", name, "delete", "configmap", "b")
    kubectl(api_server, "-n", name, "scale", "deployment", "web", "--replicas=4")
    kubectl(api_server, "-n", name, "set", "env", "deployment/web", "DEBUG=1")
    report = drift.report_of(engine.converge(engine.Request(descriptors=described, client=client, check=True)), "here")
    found = {(one.kind, one.object): one.fields for one in report.findings}
    assert report.state == "drift"
    changed = found["changed", f"ConfigMap {name}/a"][0]
    assert (changed.path, changed.wanted, changed.found, changed.manager) == ("data.key", "1", "9", "kubectl-patch")
    assert changed.since
    assert ("missing", f"ConfigMap {name}/b") in found
    scaled = found["changed", f"Deployment {name}/web"][0]
    assert (scaled.path, scaled.wanted, scaled.found, scaled.manager) == ("spec.replicas", 1, 4, "kubectl")
    extra = found["extra", f"Deployment {name}/web"][0]
    assert extra.path == "spec.template.spec.containers[app].env[DEBUG]"
    ignored = drift.report_of(
        engine.converge(engine.Request(descriptors=described, client=client, check=True)),
        "here",
        [{"object": f"*{name}/web", "path": "spec.*"}, {"object": f"ConfigMap {name}/*"}],
    )
    assert (ignored.state, ignored.ignored) == ("none", 4)


# --- one run at a time


def test_a_second_run_is_refused_and_told_who_holds_the_cluster(client, api_server, name):
    with held(client, wait_s=0, stop=threading.Event()), pytest.raises(LockError, match="is running on this cluster"):
        engine.converge(
            engine.Request(
                descriptors=[component(name, config_map("a"))], client=new_client(api_server), lock_timeout_s=0
            )
        )


def test_a_second_run_waits_for_the_first(client, api_server, name):
    said = []
    with held(client, wait_s=0, stop=threading.Event()):
        hooks = engine.Hooks(say=said.append)
        arguments = {"lock_timeout_s": 30, "hooks": hooks}
        thread = threading.Thread(
            target=lambda: engine.converge(
                engine.Request(
                    descriptors=[component(name, config_map("a"))], client=new_client(api_server), **arguments
                )
            )
        )
        thread.start()
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read(client, "v1", "ConfigMap", "a", name) is None
    thread.join(30)
    assert "waiting for" in said[0]
    assert read(client, "v1", "ConfigMap", "a", name) is not None


def _converge_and_die(kubeconfig, components, after):
    """In a process of its own: dies by SIGKILL at the n-th write."""
    client = new_client(kubeconfig)
    written = [0]
    real = client.apply

    def counted(resource, document, **options):
        if not options.get("dry_run"):
            written[0] += 1
            if written[0] > after:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(resource, document, **options)

    client.apply = counted
    engine.converge(engine.Request(descriptors=components, client=client))


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5])
def test_a_run_that_is_killed_leaves_nothing_that_the_next_one_does_not_know(client, api_server, name, after):
    old = [component(name, config_map("a"), config_map("b"))]
    new = [component(name, config_map("b", key="2"), config_map("c"), config_map("d"))]
    engine.converge(engine.Request(descriptors=old, client=client))
    process = multiprocessing.get_context("fork").Process(target=_converge_and_die, args=(api_server, new, after))
    process.start()
    process.join(60)
    # The inventory moves on before the rerun: what the dead run had made must not be orphaned.
    newest = [component(name, config_map("b", key="3"))]
    result = engine.converge(engine.Request(descriptors=newest, client=client, lock_timeout_s=10))
    assert not result.errors
    left = client.list(client.resource("v1", "ConfigMap"), name, labels="app.kubernetes.io/managed-by=llm.on_eks")
    assert [one["metadata"]["name"] for one in left] == ["b"]
    assert plan(client, newest).actions == []


def test_a_wrong_address_is_one_sentence(tmp_path):
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes import client as module
    from ansible_collections.llm.on_eks.plugins.plugin_utils.kubernetes.connection import connect

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RETRIES", 1)
        with pytest.raises(LlmOnEksError, match="does not answer"):
            engine.converge(
                engine.Request(
                    descriptors=[component("x", config_map("a"))],
                    client=module.Client(connect(host="https://127.0.0.1:9")),
                )
            )
