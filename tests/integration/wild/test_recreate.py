# SPDX-License-Identifier: Apache-2.0
"""An object whose immutable field changes is recreated where the descriptor allows it, and only if the API accepts the new form.

Seen in: hashicorp/terraform-provider-kubernetes (roleRef, Service), helm/helm (StatefulSet), kubernetes/kubernetes (clusterIP).
"""

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.contract import components
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.rollback import rollback
from tests.support.cluster_client import absent, apply, component, config_map, read

pytestmark = pytest.mark.apiserver


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


def stateful_set(**spec):
    labels = {"app": "db"}
    pod = {"containers": [{"name": "db", "image": "registry.test/db:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"serviceName": "db", "replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


def service(**spec):
    wanted = {"selector": {"app": "x"}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": wanted}


def binding(role):
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }


def claim(storage_class):
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": storage_class,
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


def frozen(**data):
    return {**config_map("settings", **data), "immutable": True}


CHANGES = {
    "roleRef": (binding("one"), binding("two"), "roleRef.name"),
    "load balancer class added": (
        service(type="LoadBalancer"),
        service(type="LoadBalancer", loadBalancerClass="service.k8s.aws/nlb"),
        "spec.loadBalancerClass",
    ),
    "load balancer class taken out": (
        service(type="LoadBalancer", loadBalancerClass="service.k8s.aws/nlb"),
        service(type="LoadBalancer"),
        "spec.loadBalancerClass",
    ),
    "headless": (service(), service(clusterIP="None"), "spec.clusterIP"),
    "claim's class": (claim("one"), claim("two"), "spec.storageClassName"),
    "immutable data": (frozen(a="1"), frozen(a="2"), "data.a"),
    "StatefulSet's Service": (stateful_set(), stateful_set(serviceName="other"), "spec.serviceName"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_fixed_field_is_refused_naming_recreate_and_comes_about_with_it(client, name, what):
    before, after, field = CHANGES[what]
    named = {"kind": before["kind"], "name": before["metadata"]["name"]}
    apply(client, [component(name, before)])
    (error,) = run(client, [component(name, after)], check=True).errors
    assert "`recreate`" in error
    described = component(name, after, recreate=[named])
    planned = run(client, [described], check=True)
    assert not planned.errors
    (action,) = planned.actions
    assert action.verb == "recreate"
    assert field in [change.path for change in action.changes]
    assert len(action.changes) < 8
    done = run(client, [described])
    assert not done.errors
    assert [str(change.path) for change in done.actions[0].changes] == [change.path for change in action.changes]
    assert not run(client, [described]).actions
    run(client, absent(described), lose_data=["all"])


def test_a_model_that_goes_to_another_engine_is_made_anew(client, name):
    """Its selector has the engine's name: the walk-through's TGI is what people leave."""

    def served_by(engine_name):
        model = {"name": name, "source": "hf://a/b", "engine": engine_name, "replicas": {"min": 0, "max": 1}}
        spec = {"name": engine_name, "image": "registry.test/engine:1", "port": 8000, "health": "/health"}
        (described,) = components(model, spec, {"revision": "1", "size_bytes": 1})
        return {**described, "requires": [], "wait": []}

    apply(client, [served_by("tgi")])
    planned = run(client, [served_by("vllm")], check=True)
    assert not planned.errors
    assert {action.subject.split()[0]: action.verb for action in planned.actions}["Deployment"] == "recreate"
    assert not run(client, [served_by("vllm")]).errors
    assert not run(client, [served_by("vllm")]).actions
    assert not rollback(client, f"engine-{name}", -1, check=False).errors
    labels = read(client, "apps/v1", "Deployment", f"engine-{name}", "llm-engines")["spec"]["selector"]["matchLabels"]
    assert labels["llm.on-eks/engine"] == "tgi"
    run(client, absent(served_by("tgi")))


@pytest.mark.parametrize("check", [True, False])
def test_a_text_that_the_api_would_not_take_deletes_nothing(client, name, check):
    described = component(name, stateful_set(), recreate=[{"kind": "StatefulSet", "name": "db"}])
    apply(client, [described])
    before = read(client, "apps/v1", "StatefulSet", "db", name)["metadata"]["uid"]
    described["manifests"][0]["spec"]["serviceName"] = "other"
    described["manifests"][0]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    (error,) = run(client, [described], check=check).errors
    assert f"StatefulSet {name}/db" in error and "imagePullPolicy" in error and "nothing was deleted" in error
    assert read(client, "apps/v1", "StatefulSet", "db", name)["metadata"]["uid"] == before


def test_a_definition_that_is_made_anew_says_how_many_objects_go_with_it(client, kubectl, name):
    group = f"{name}.example.com"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        },
    }
    described = {
        "name": name,
        "crds": [crd],
        "recreate": [{"kind": "CustomResourceDefinition", "name": f"things.{group}"}],
    }
    apply(client, [described])
    for number in range(2):
        kubectl(
            "create",
            "-f",
            "-",
            given={"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": f"t{number}"}},
        )
    crd["spec"]["scope"] = "Namespaced"
    planned = run(client, [described], check=True)
    assert not planned.errors
    assert [action.loses for action in planned.actions] == ["2 objects of its kind"]
    assert not run(client, [described]).errors
    assert not run(client, absent(described)).errors
