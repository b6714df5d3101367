# SPDX-License-Identifier: Apache-2.0
"""What goes with a component, and what stays: nothing of ours is left, nothing of anybody else goes."""

import json
import threading

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.locks import lease
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine, rollback
from tests.support.cluster_client import absent, apply, component, config_map, new_client, plan, read, subjects

pytestmark = pytest.mark.apiserver

SLICE = {"addressType": "IPv4", "endpoints": [{"addresses": ["198.51.100.7"]}], "ports": [{"name": "http", "port": 80}]}


def traces():
    """Objects of the kinds that controllers usually write, written by a descriptor."""
    meta = {"name": "own"}
    return [
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, **SLICE},
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": meta,
            "subsets": [{"addresses": [{"ip": "198.51.100.7"}], "ports": [{"port": 80}]}],
        },
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {"holderIdentity": "us"}},
        {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "revision": 1, "data": {}},
    ]


def service(name):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}},
    }


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


def test_objects_of_kinds_that_controllers_write_go_with_the_component_that_described_them(client, name):
    kept = {**component(f"{name}-kept", config_map("a")), "namespace": {"name": name}}
    described = {**component(name, *traces()), "namespace": {"name": name}}
    apply(client, [described, kept])
    gone = run(client, [*absent(described), kept])
    assert not gone.errors
    assert len(subjects(gone, "delete")) == 4
    for document in traces():
        assert read(client, document["apiVersion"], document["kind"], "own", name) is None
    run(client, absent(kept))


def test_what_the_control_plane_made_of_a_service_keeps_no_namespace(client, name):
    described = component(name, service("web"), config_map("a"))
    apply(client, [described])
    gone = run(client, absent(described))
    assert not gone.errors
    assert set(subjects(gone, "delete")) == {f"Service {name}/web", f"ConfigMap {name}/a", f"Namespace {name}"}
    assert read(client, "v1", "Namespace", name) is None


@pytest.mark.parametrize("index", range(4), ids=["EndpointSlice", "Endpoints", "Lease", "ControllerRevision"])
def test_a_strangers_object_keeps_the_namespace_whatever_its_kind(client, kubectl, name, index):
    described = component(name, config_map("a"))
    apply(client, [described])
    theirs = traces()[index]
    theirs["metadata"] = {"name": "theirs", "namespace": name}
    kubectl("apply", "-f", "-", given=theirs)
    gone = run(client, absent(described))
    notes = [note for result in gone.components.values() for note in result.notes]
    assert notes == [f"Namespace {name} is kept: {theirs['kind']} {name}/theirs still in it"]
    assert read(client, theirs["apiVersion"], theirs["kind"], "theirs", name) is not None
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("named", ["by its name alone", "by its owner's parts"])
def test_the_namespace_goes_with_a_component_that_nobody_describes_any_more(client, name, named):
    part = component(f"{name}-part-a", config_map("a"))
    owner = component(name, config_map("a"), parts={"prefixes": [f"{name}-part-"]})
    apply(client, [owner, part])
    later = [owner] if named.endswith("parts") else [owner, {"name": part["name"], "state": "absent"}]
    deleted = {f"ConfigMap {part['name']}/a", f"Namespace {part['name']}"}
    assert {one.subject for one in plan(client, later).actions} == deleted
    assert set(subjects(run(client, later), "delete")) == deleted
    assert read(client, "v1", "Namespace", part["name"]) is None
    run(client, absent(owner))


def test_the_namespace_that_a_component_moved_out_of_goes(client, name):
    here, there = component(name, config_map("a")), component(name, config_map("a"))
    there["namespace"] = {"name": f"{name}-new"}
    apply(client, [here])
    apply(client, [there])
    assert read(client, "v1", "Namespace", name) is None
    back = rollback.rollback(client, name, -1, check=False)
    assert not back.errors
    assert read(client, "v1", "ConfigMap", "a", name) is not None
    assert read(client, "v1", "Namespace", f"{name}-new") is None
    apply(client, [there])
    run(client, absent(there))
    assert [read(client, "v1", "Namespace", one) for one in (name, f"{name}-new")] == [None, None]


def test_an_empty_namespace_that_another_component_describes_stays(client, name):
    kept = component(f"{name}-kept")
    visitor = component(f"{name}-visitor", config_map("a"), config_map("a", namespace=f"{name}-kept"))
    apply(client, [kept, visitor])
    apply(client, [kept, {"name": visitor["name"], "state": "absent"}])
    assert read(client, "v1", "Namespace", f"{name}-visitor") is None
    apply(client, [kept, visitor])
    assert not run(client, [kept, {"name": visitor["name"], "state": "absent"}], only=[visitor["name"]]).errors
    assert read(client, "v1", "Namespace", f"{name}-kept") is not None
    run(client, absent(kept))


@pytest.mark.parametrize("later", ["absent", "without it"])
def test_a_strangers_object_keeps_a_namespace_that_a_component_lists_among_its_objects(client, kubectl, name, later):
    listed = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{name}-extra"}}
    described = component(name, listed, config_map("a"))
    apply(client, [described])
    kubectl("-n", f"{name}-extra", "create", "configmap", "theirs")
    wanted = absent(described) if later == "absent" else [component(name, config_map("a"))]
    gone = run(client, wanted)
    notes = [note for result in gone.components.values() for note in result.notes]
    assert notes == [f"Namespace {name}-extra is kept: ConfigMap {name}-extra/theirs still in it"]
    assert read(client, "v1", "ConfigMap", "theirs", f"{name}-extra") is not None
    kubectl("-n", f"{name}-extra", "delete", "configmap", "theirs")
    run(client, absent(described))
    assert read(client, "v1", "Namespace", name) is None


def test_the_locks_of_a_workload_that_goes_go_with_it(client, kubectl, name):
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "operator"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "operator"}},
            "template": {
                "metadata": {"labels": {"app": "operator"}},
                "spec": {"containers": [{"name": "operator", "image": "registry.test/operator:1"}]},
            },
        },
    }
    described = component(name, workload)
    apply(client, [described])
    pod = "operator-5d9c7b6f4-x2x9q_0f0e8a52-7c3c-4c53-9f6e-2b1c6f6f1c11"
    # Some give a lock back when they end; istiod's is a ConfigMap.
    older = {"control-plane.alpha.kubernetes.io/leader": json.dumps({"holderIdentity": pod})}
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    locks = [
        {**kind, "metadata": {"name": "led", "namespace": name}, "spec": {"holderIdentity": pod}},
        {**kind, "metadata": {"name": "given-back", "namespace": name}, "spec": {"holderIdentity": ""}},
        {**config_map("older", name), "metadata": {"name": "older", "namespace": name, "annotations": older}},
    ]
    held = {"apiVersion": "v1", "kind": "List", "items": locks}
    kubectl("create", "-f", "-", given=held)
    assert not run(client, absent(described)).errors
    assert read(client, "v1", "Namespace", name) is None


def test_a_run_waits_for_its_namespace_that_an_earlier_one_takes_away(client, kubectl, name):
    apply(client, [component(name, config_map("a"))])
    held = config_map("held", name)
    held["metadata"] |= {"finalizers": ["example.com/hold"], "labels": {"app.kubernetes.io/managed-by": "llm.on_eks"}}
    kubectl("create", "-f", "-", given=held)
    kubectl("delete", "namespace", name, "--wait=false")
    planned = run(client, [component(name, config_map("b"))], check=True)
    assert not planned.errors
    assert subjects(planned, "create") == [f"Namespace {name}", f"ConfigMap {name}/b"]
    free = ["-n", name, "patch", "configmap", "held", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}']
    later = threading.Timer(2, kubectl, free)
    later.start()
    done = run(client, [component(name, config_map("b"))])
    later.join()
    assert not done.errors
    assert read(client, "v1", "ConfigMap", "b", name) is not None
    run(client, absent(component(name)))


def test_somebody_elses_namespace_that_is_being_deleted_is_refused_at_once(client, kubectl, name):
    kubectl("create", "namespace", name)
    kubectl("-n", name, "create", "configmap", "held")
    finalizers = ["-n", name, "patch", "configmap", "held", "--type=merge", "-p"]
    kubectl(*finalizers, '{"metadata":{"finalizers":["example.com/hold"]}}')
    kubectl("delete", "namespace", name, "--wait=false")
    (error,) = run(client, [component(name, config_map("a"))]).errors
    kubectl(*finalizers, '{"metadata":{"finalizers":[]}}')
    assert "is being deleted" in error
    assert "give these credentials" not in error


def test_the_last_removal_and_the_first_creation_of_two_runs_may_cross(client, api_server, name):
    """A removal that leaves nothing takes the namespace of records away; a run that begins right then waits for it."""
    first, second = component(f"{name}-a", config_map("a")), component(f"{name}-b", config_map("b"))
    apply(client, [first])
    others = set(lease_records(client)) - {f"record-{name}-a"}
    results = []
    for __ in range(3):
        threads = [
            threading.Thread(target=lambda: results.append(run(new_client(api_server), absent(first)))),
            threading.Thread(target=lambda: results.append(run(new_client(api_server), [second]))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results.append(run(client, [*absent(second), first]))
    results.append(run(client, absent(first, second)))
    assert [error for result in results for error in result.errors] == []
    assert others or read(client, "v1", "Namespace", "llm-system") is None


def test_the_namespace_of_records_goes_only_by_the_version_of_the_lease_that_a_run_holds(client, name):
    stop = threading.Event()
    held = lease.take(client, wait_s=60, stop=stop)
    resource = client.resource("coordination.k8s.io/v1", "Lease")
    live = client.get(resource, "converge", "llm-system")
    live["metadata"]["annotations"]["llm.on-eks/run"] = "another run, which took it when ours was thought dead"
    client.replace(resource, live)
    held.end()
    found = read(client, "v1", "Namespace", "llm-system")
    assert found is not None and not found["metadata"].get("deletionTimestamp")
    live = client.get(resource, "converge", "llm-system")
    client.replace(resource, {**live, "spec": {**live["spec"], "holderIdentity": ""}})


def test_somebody_elses_object_keeps_the_namespace_of_records(client, kubectl, name):
    described = component(name, config_map("a"))
    apply(client, [described])
    kubectl("-n", "llm-system", "create", "configmap", name)
    assert not run(client, absent(described)).errors
    assert read(client, "v1", "ConfigMap", name, "llm-system") is not None
    kubectl("-n", "llm-system", "delete", "configmap", name)


def lease_records(client):
    resource = client.resource("v1", "ConfigMap")
    found = client.list(resource, "llm-system", labels="llm.on-eks/record=index")
    return [one["metadata"]["name"] for one in found]
