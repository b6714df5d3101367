# SPDX-License-Identifier: Apache-2.0
"""A volume's size that grows in the description grows in the cluster, without a pod that ends.

Seen in: kubernetes/kubernetes#68737, bitnami/charts#9671 (upgrades are refused), prometheus-operator/prometheus-operator#4079
(the set is made anew, its claims stay small).
"""

from __future__ import annotations

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.kinds.growth import grows
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine
from tests.support.cluster_client import absent, apply, component, read
from tests.support.waiting import until

pytestmark = pytest.mark.apiserver


def run(client, components, **options):
    return engine.converge(engine.Request(descriptors=components, client=client, **options))


def storage_class(name, *, grows):
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "allowVolumeExpansion": grows,
    }


def volume(name):
    """What the class's provisioner would make."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nowhere"},
        },
    }


def template(name, size):
    requests = {"requests": {"storage": size}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": name, "resources": requests}
    return {"metadata": {"name": "data"}, "spec": spec}


def stateful_set(name, size, **spec):
    labels = {"app": "db"}
    pod = {"containers": [{"name": "db", "image": "registry.test/db:1"}]}
    made = {
        "serviceName": "db",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "volumeClaimTemplates": [template(name, size)],
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": made}


def described(name, size, **spec):
    return component(name, stateful_set(name, size, **spec))


@pytest.fixture
def provisioned(client, name):
    """What a cluster has: a class, and the volume that its provisioner would make."""
    made = []

    def make(*, grows):
        made.extend([storage_class(name, grows=grows), volume(name)])
        for document in made:
            client.create(client.resource(document["apiVersion"], document["kind"]), document)

    yield make
    for document in made:
        client.delete(client.resource(document["apiVersion"], document["kind"]), name)


def bound(client, name):
    claim = read(client, "v1", "PersistentVolumeClaim", "data-db-0", name)
    return bool(claim) and claim["status"].get("phase") == "Bound" and claim


def pod_of(client, name):
    return read(client, "v1", "Pod", "db-0", name)["metadata"]["uid"]


def test_larger_volumes_come_about_around_running_pods(client, name, provisioned):
    provisioned(grows=True)
    apply(client, [described(name, "1Gi")])
    until(lambda: bound(client, name), seconds=60)
    pod = pod_of(client, name)
    (error,) = run(client, [described(name, "2Gi", serviceName="other")], check=True).errors
    assert "`recreate`" in error, "a size is not all that is fixed"
    result = apply(client, [described(name, "2Gi", podManagementPolicy="OrderedReady")])
    assert {action.subject.split()[0]: action.verb for action in result.actions} == {
        "StatefulSet": "update",
        "PersistentVolumeClaim": "update",
    }
    assert {action.disruption for action in result.actions} == {"none"}
    assert bound(client, name)["spec"]["resources"]["requests"]["storage"] == "2Gi"
    live = read(client, "apps/v1", "StatefulSet", "db", name)
    assert live["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert pod_of(client, name) == pod
    (error,) = run(client, [described(name, "1Gi")]).errors
    assert "have 2Gi, and volumes do not shrink; ask for 2Gi or more" in error
    run(client, absent(described(name, "2Gi")), lose_data=["all"])


def test_a_volume_that_cannot_grow_is_told_before_anything_is_changed(client, name, provisioned):
    provisioned(grows=False)
    apply(client, [described(name, "1Gi")])
    until(lambda: bound(client, name), seconds=60)
    before = read(client, "apps/v1", "StatefulSet", "db", name)["metadata"]["uid"]
    for check in (True, False):
        (error,) = run(client, [described(name, "2Gi")], check=check).errors
        assert "data-db-0 has 1Gi and cannot get 2Gi" in error and "allowVolumeExpansion" in error
    assert read(client, "apps/v1", "StatefulSet", "db", name)["metadata"]["uid"] == before
    run(client, absent(described(name, "1Gi")), lose_data=["all"])


def test_an_operators_volumes_are_seen_to_grow():
    def prometheus(size):
        spec = {"storage": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": size}}}}}}
        return {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": "p"}, "spec": spec}

    assert grows(prometheus("1.5Gi"), prometheus("1Gi"))
    assert not grows(prometheus("1Gi"), prometheus("1024Mi"))
    assert not grows({**prometheus("2Gi"), "kind": "Deployment"}, prometheus("1Gi"))
